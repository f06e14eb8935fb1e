;; Its elements do not fit its table.
;; ends: trap
;; says: out of bounds table access

;; module
(table 1 funcref)
(func $f)
(elem (i32.const 1) $f)
(func (export "handle") (param i32 i32)
  )
