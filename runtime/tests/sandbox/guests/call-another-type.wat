;; Calls a function as if it had another type.
;; ends: trap
;; says: indirect call type mismatch

;; module
(table 1 funcref)
(func $f (param i64) (result i64) (local.get 0))
(elem (i32.const 0) $f)
(func (export "handle") (param i32 i32)
  (call_indirect (i32.const 0)))
