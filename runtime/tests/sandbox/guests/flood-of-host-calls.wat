;; Asks for the time without end.
;; ends: deadline
;; says: CPU time
;; limits: cpu_ms_max=50
;; limit: Cpu

(import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock (export "now" (func (result u64)))))
(core func $now (canon lower (func $clock "now")))
(core instance $host (export "now" (func $now)))

;; module
(import "host" "now" (func $now (result i64)))
(func (export "handle") (param i32 i32)
  (loop $again
    (drop (call $now))
    (br $again)))
