;; Names a model with more bytes than one call of the host may copy.
;; ends: trap
;; limits: host_call_bytes_max=50000
;; limit: HostCall

(import "wasi:nn/errors@0.2.0-rc-2024-10-28" (instance $errors (export "error" (type (sub resource)))))
(alias export $errors "error" (type $error))
(import "wasi:nn/graph@0.2.0-rc-2024-10-28" (instance $graph
  (alias outer 1 $error (type $a)) (export "error" (type $e (eq $a)))
  (export "graph" (type $g (sub resource)))
  (export "load-by-name" (func (param "name" string) (result (result (own $g) (error (own $e))))))))
(core func $load (canon lower (func $graph "load-by-name") (memory $memory)))
(core instance $host (export "load" (func $load)))

;; module
(import "library" "memory" (memory 1))
(import "host" "load" (func $load (param i32 i32 i32)))
(func (export "handle") (param i32 i32)
  (call $load (i32.const 0) (i32.const 60000) (i32.const 16)))
