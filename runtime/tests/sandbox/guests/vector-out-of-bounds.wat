;; Reads a vector across the end of its memory.
;; ends: trap
;; says: out of bounds memory access

;; module
(memory 1)
(func (export "handle") (param i32 i32)
  (drop (v128.load (i32.const 65521))))
