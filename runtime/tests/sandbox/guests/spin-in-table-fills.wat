;; Each instruction writes 40,000 references.
;; ends: deadline
;; says: CPU time
;; limits: cpu_ms_max=50
;; limit: Cpu

;; module
(table 40000 funcref)
(func (export "handle") (param i32 i32)
  (loop $again
    (table.fill (i32.const 0) (ref.null func) (i32.const 40000))
    (br $again)))
