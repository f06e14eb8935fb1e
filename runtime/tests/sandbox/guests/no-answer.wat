;; Ends without an answer.
;; ends: no-response

;; module
(func (export "handle") (param i32 i32)
  )
