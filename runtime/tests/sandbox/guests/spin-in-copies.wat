;; Each instruction copies 16 MiB.
;; ends: deadline
;; says: CPU time
;; limits: cpu_ms_max=50
;; limit: Cpu

;; module
(memory 512)
(func (export "handle") (param i32 i32)
  (loop $again
    (memory.copy (i32.const 0) (i32.const 16777216) (i32.const 16777216))
    (br $again)))
