;; Gives the same handle back twice.
;; ends: trap
;; says: handle

(core func $drop (canon resource.drop $request))
(core instance $host (export "drop" (func $drop)))

;; module
(import "host" "drop" (func $drop (param i32)))
(func (export "handle") (param i32 i32)
  (call $drop (local.get 0))
  (call $drop (local.get 0)))
