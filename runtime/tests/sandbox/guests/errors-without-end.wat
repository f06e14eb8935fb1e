;; Asks for a model that it may not have, and keeps every refusal.
;; ends: trap
;; says: table
;; limit: Handles

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
  (loop $again
    (call $load (i32.const 64) (i32.const 3) (i32.const 16))
    (br $again)))
