;; Gives back a handle that it never had.
;; ends: trap
;; says: handle

(core func $drop (canon resource.drop $request))
(core instance $host (export "drop" (func $drop)))

;; module
(import "host" "drop" (func $drop (param i32)))
(func (export "handle") (param i32 i32)
  (call $drop (i32.const 4242)))
