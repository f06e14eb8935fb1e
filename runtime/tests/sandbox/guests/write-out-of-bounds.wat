;; Writes across the end of its memory.
;; ends: trap
;; says: out of bounds memory access

;; module
(memory 1)
(func (export "handle") (param i32 i32)
  (i64.store (i32.const 65529) (i64.const 0)))
