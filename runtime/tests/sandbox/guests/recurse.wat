;; Calls itself.
;; ends: trap
;; says: call stack exhausted

;; module
(func $deeper (call $deeper))
(func (export "handle") (param i32 i32)
  (call $deeper))
