;; Calls an element of a table that is none.
;; ends: trap
;; says: uninitialized element

;; module
(table 4 funcref)
(func (export "handle") (param i32 i32)
  (call_indirect (i32.const 2)))
