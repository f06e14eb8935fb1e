;; Asks for all of 4 GiB.
;; ends: trap
;; says: its memory limit is
;; limit: Memory

;; module
(memory 1)
(func (export "handle") (param i32 i32)
  (if (i32.eq (memory.grow (i32.const 65535)) (i32.const -1)) (then unreachable)))
