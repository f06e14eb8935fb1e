;; Three tables that are over the limit together.
;; ends: trap
;; says: table minimum size
;; limit: Tables

;; module
(table 20000 funcref) (table 20000 funcref) (table 20000 funcref)
(func (export "handle") (param i32 i32)
  )
