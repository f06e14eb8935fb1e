;; Divides by zero.
;; ends: trap
;; says: divide by zero

;; module
(func (export "handle") (param i32 i32)
  (drop (i32.div_s (i32.const 1) (i32.const 0)))
  unreachable)
