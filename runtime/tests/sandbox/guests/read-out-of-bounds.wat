;; Reads where the largest offset and the largest address lead.
;; ends: trap
;; says: out of bounds memory access

;; module
(memory 1)
(func (export "handle") (param i32 i32)
  (drop (i32.load offset=4294967295 (i32.const -1))))
