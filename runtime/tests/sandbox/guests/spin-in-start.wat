;; Computes without end before it is asked anything.
;; ends: deadline
;; says: CPU time
;; limits: cpu_ms_max=50
;; limit: Cpu

;; module
(func $start (loop (br 0)))
(start $start)
(func (export "handle") (param i32 i32)
  )
