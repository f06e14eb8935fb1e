;; Ends its program, as failed.
;; ends: trap
;; says: exited with code 1

(import "wasi:cli/exit@0.2.0" (instance $exit (export "exit" (func (param "status" (result))))))
(core func $exit (canon lower (func $exit "exit")))
(core instance $host (export "exit" (func $exit)))

;; module
(import "host" "exit" (func $exit (param i32)))
(func (export "handle") (param i32 i32)
  (call $exit (i32.const 1)))
