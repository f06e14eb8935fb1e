;; Two functions that call each other.
;; ends: trap
;; says: call stack exhausted
;; limits: cpu_ms_max=50

;; module
(func $a (param i32) (call $b (local.get 0)) (call $b (local.get 0)))
(func $b (param i32) (call $a (local.get 0)) (call $a (local.get 0)))
(func (export "handle") (param i32 i32)
  (call $a (i32.const 0)))
