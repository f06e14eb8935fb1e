;; Calls itself through a table.
;; ends: trap
;; says: call stack exhausted

;; module
(type $f (func))
(table 1 funcref)
(elem (i32.const 0) $deeper)
(func $deeper (call_indirect (type $f) (i32.const 0)))
(func (export "handle") (param i32 i32)
  (call $deeper))
