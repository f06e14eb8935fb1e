;; Each instruction writes 32 MiB.
;; ends: deadline
;; says: CPU time
;; limits: cpu_ms_max=50
;; limit: Cpu

;; module
(memory 512)
(func (export "handle") (param i32 i32)
  (loop $again
    (memory.fill (i32.const 0) (i32.const 1) (i32.const 33554432))
    (br $again)))
