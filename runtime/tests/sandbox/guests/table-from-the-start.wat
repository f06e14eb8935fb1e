;; Has a table of 90,000 elements, within the format and over its limit.
;; ends: trap
;; says: table minimum size
;; limit: Tables

;; module
(table 90000 funcref)
(func (export "handle") (param i32 i32)
  )
