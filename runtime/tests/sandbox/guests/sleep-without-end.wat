;; Sleeps for 584 years.
;; ends: deadline
;; says: wall-clock
;; limits: wall_ms_max=100
;; limit: Wall

(import "wasi:io/poll@0.2.0" (instance $poll
  (export "pollable" (type $p (sub resource)))
  (export "[method]pollable.block" (func (param "self" (borrow $p))))
  (export "poll" (func (param "in" (list (borrow $p))) (result (list u32))))))
(alias export $poll "pollable" (type $pollable))
(import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
  (alias outer 1 $pollable (type $a)) (export "pollable" (type $p (eq $a)))
  (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
(core func $sleep (canon lower (func $clock "subscribe-duration")))
(core func $block (canon lower (func $poll "[method]pollable.block")))
(core func $poll (canon lower (func $poll "poll") (memory $memory) (realloc $realloc)))
(core instance $host
  (export "sleep" (func $sleep)) (export "block" (func $block)) (export "poll" (func $poll)))

;; module
(import "library" "memory" (memory 1))
(import "host" "sleep" (func $sleep (param i64) (result i32)))
(import "host" "block" (func $block (param i32)))
(import "host" "poll" (func $poll (param i32 i32 i32)))
(func (export "handle") (param i32 i32)
  (call $block (call $sleep (i64.const -1))))
