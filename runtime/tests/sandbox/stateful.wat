;; A guest that speaks an older version of wasi:nn, in which a context keeps inputs and outputs.
;; VERSION is put in by the test.
(component
  (import "wasi:http/types@0.2.0" (instance $http
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $http "incoming-request" (type $request))
  (alias export $http "response-outparam" (type $outparam))

  (import "wasi:nn/tensor@VERSION" (instance $tensor
    (export "tensor" (type $t (sub resource)))
    (type $a (list u32)) (export "tensor-dimensions" (type $dimensions (eq $a)))
    (type $b (list u8)) (export "tensor-data" (type $data (eq $b)))
    (type $c (enum "FP16" "FP32" "FP64" "BF16" "U8" "I32" "I64"))
    (export "tensor-type" (type $ty (eq $c)))
    (export "[constructor]tensor"
      (func (param "dimensions" $dimensions) (param "ty" $ty) (param "data" $data) (result (own $t))))
    (export "[method]tensor.data" (func (param "self" (borrow $t)) (result $data)))))
  (alias export $tensor "tensor" (type $a-tensor))
  (import "wasi:nn/errors@VERSION" (instance $errors
    (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $an-error))
  (import "wasi:nn/inference@VERSION" (instance $inference
    (alias outer 1 $a-tensor (type $a)) (export "tensor" (type $t (eq $a)))
    (alias outer 1 $an-error (type $b)) (export "error" (type $e (eq $b)))
    (export "graph-execution-context" (type $c (sub resource)))
    (export "[method]graph-execution-context.set-input"
      (func (param "self" (borrow $c)) (param "name" string) (param "tensor" (own $t))
        (result (result (error (own $e))))))
    (export "[method]graph-execution-context.compute"
      (func (param "self" (borrow $c)) (result (result (error (own $e))))))
    (export "[method]graph-execution-context.get-output"
      (func (param "self" (borrow $c)) (param "name" string)
        (result (result (own $t) (error (own $e))))))))
  (alias export $inference "graph-execution-context" (type $a-context))
  (import "wasi:nn/graph@VERSION" (instance $graph
    (alias outer 1 $an-error (type $a)) (export "error" (type $e (eq $a)))
    (alias outer 1 $a-context (type $b)) (export "graph-execution-context" (type $c (eq $b)))
    (export "graph" (type $g (sub resource)))
    (export "[method]graph.init-execution-context"
      (func (param "self" (borrow $g)) (result (result (own $c) (error (own $e))))))
    (export "load-by-name"
      (func (param "name" string) (result (result (own $g) (error (own $e))))))))

  (core module $library
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 65536))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $next)
      (global.set $next
        (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7)) (i32.const -8)))))
  (core instance $library (instantiate $library))
  (alias core export $library "memory" (core memory $memory))
  (alias core export $library "realloc" (core func $realloc))

  (core func $load (canon lower (func $graph "load-by-name") (memory $memory)))
  (core func $init
    (canon lower (func $graph "[method]graph.init-execution-context") (memory $memory)))
  (core func $make (canon lower (func $tensor "[constructor]tensor") (memory $memory)))
  (core func $read
    (canon lower (func $tensor "[method]tensor.data") (memory $memory) (realloc $realloc)))
  (core func $set
    (canon lower (func $inference "[method]graph-execution-context.set-input") (memory $memory)))
  (core func $compute
    (canon lower (func $inference "[method]graph-execution-context.compute") (memory $memory)))
  (core func $get
    (canon lower (func $inference "[method]graph-execution-context.get-output") (memory $memory)))

  (core module $guest
    (import "library" "memory" (memory 2))
    (import "nn" "load" (func $load (param i32 i32 i32)))
    (import "nn" "init" (func $init (param i32 i32)))
    (import "nn" "make" (func $make (param i32 i32 i32 i32 i32) (result i32)))
    (import "nn" "read" (func $read (param i32 i32)))
    (import "nn" "set" (func $set (param i32 i32 i32 i32 i32)))
    (import "nn" "compute" (func $compute (param i32 i32)))
    (import "nn" "get" (func $get (param i32 i32 i32 i32)))

    (data (i32.const 0x100) "tiny-storyteller")
    (data (i32.const 0x120) "prompt")
    (data (i32.const 0x128) "options")
    (data (i32.const 0x130) "text")
    (data (i32.const 0x138) "finish_reason")
    (data (i32.const 0x150) "nobody")
    (data (i32.const 0x160) "one two three")
    (data (i32.const 0x180) "{\"stream\":true}")
    ;; Dimensions of the two texts above.
    (data (i32.const 0x200) "\0d\00\00\00\0f\00\00\00")

    ;; Results are written to 0x300: whether it is an error, and four bytes later what it is.
    (func $good (if (i32.load8_u (i32.const 0x300)) (then unreachable)))
    (func $bad (if (i32.eqz (i32.load8_u (i32.const 0x300))) (then unreachable)))
    (func $value (result i32) (i32.load (i32.const 0x304)))

    (func (export "handle") (param i32 i32)
      (local $graph i32) (local $context i32) (local $left i32)
      (call $load (i32.const 0x150) (i32.const 6) (i32.const 0x300))
      (call $bad)
      (call $load (i32.const 0x100) (i32.const 16) (i32.const 0x300))
      (call $good)
      (local.set $graph (call $value))
      (call $init (local.get $graph) (i32.const 0x300))
      (call $good)
      (local.set $context (call $value))

      ;; Nothing was computed, and there is nothing to compute.
      (call $get (local.get $context) (i32.const 0x130) (i32.const 4) (i32.const 0x300))
      (call $bad)
      (call $compute (local.get $context) (i32.const 0x300))
      (call $bad)

      (call $set (local.get $context) (i32.const 0x120) (i32.const 6)
        (call $make (i32.const 0x200) (i32.const 1) (i32.const 4) (i32.const 0x160) (i32.const 13))
        (i32.const 0x300))
      (call $good)
      (call $compute (local.get $context) (i32.const 0x300))
      (call $good)
      ;; An output can be read more than once.
      (call $get (local.get $context) (i32.const 0x130) (i32.const 4) (i32.const 0x300))
      (call $good)
      (call $get (local.get $context) (i32.const 0x130) (i32.const 4) (i32.const 0x300))
      (call $good)
      (call $read (call $value) (i32.const 0x300))
      ;; It begins with "one".
      (if (i32.ne (i32.const 0x656e6f)
            (i32.and (i32.load (i32.load (i32.const 0x300))) (i32.const 0xffffff)))
        (then unreachable))

      ;; The inputs are there still.
      (call $compute (local.get $context) (i32.const 0x300))
      (call $good)

      ;; With options that stream, each computation is a piece, until there is a reason to end.
      (call $set (local.get $context) (i32.const 0x128) (i32.const 7)
        (call $make (i32.const 0x204) (i32.const 1) (i32.const 4) (i32.const 0x180) (i32.const 15))
        (i32.const 0x300))
      (call $good)
      (local.set $left (i32.const 10))
      (loop $pieces
        (if (i32.eqz (local.get $left)) (then unreachable))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (call $compute (local.get $context) (i32.const 0x300))
        (call $good)
        (call $get (local.get $context) (i32.const 0x138) (i32.const 13) (i32.const 0x300))
        (br_if $pieces (i32.load8_u (i32.const 0x300))))
      ;; It took more than one.
      (if (i32.gt_u (local.get $left) (i32.const 8)) (then unreachable))))
  (core instance $nn
    (export "load" (func $load))
    (export "init" (func $init))
    (export "make" (func $make))
    (export "read" (func $read))
    (export "set" (func $set))
    (export "compute" (func $compute))
    (export "get" (func $get)))
  (core instance $guest (instantiate $guest
    (with "library" (instance $library))
    (with "nn" (instance $nn))))
  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $guest "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
