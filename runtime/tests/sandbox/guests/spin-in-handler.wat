;; Computes without end.
;; ends: deadline
;; says: CPU time
;; limits: cpu_ms_max=50
;; limit: Cpu

;; module
(func (export "handle") (param i32 i32)
  (loop (br 0)))
