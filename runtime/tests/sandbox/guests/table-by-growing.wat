;; Grows its table until it gets no more, and then fails.
;; ends: trap
;; says: unreachable
;; limit: Tables

;; module
(table 1 funcref)
(func (export "handle") (param i32 i32)
  (loop $again
    (br_if $again (i32.ne (table.grow (ref.null func) (i32.const 1000)) (i32.const -1))))
  unreachable)
