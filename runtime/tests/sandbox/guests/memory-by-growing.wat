;; Grows its memory until it gets no more, and then fails.
;; ends: trap
;; says: its memory limit is
;; limits: memory_bytes_max=16777216
;; limit: Memory

;; module
(memory 1)
(func (export "handle") (param i32 i32)
  (loop $again
    (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
  unreachable)
