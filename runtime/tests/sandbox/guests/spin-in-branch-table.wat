;; A loop whose end is a jump through a table.
;; ends: deadline
;; says: CPU time
;; limits: cpu_ms_max=50
;; limit: Cpu

;; module
(func (export "handle") (param i32 i32)
  (loop $again (br_table $again $again $again (local.get 0))))
