;; Asks for 2^64 - 1 random bytes.
;; ends: trap

(import "wasi:random/random@0.2.0" (instance $random
  (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
(core func $random (canon lower (func $random "get-random-bytes") (memory $memory) (realloc $realloc)))
(core instance $host (export "random" (func $random)))

;; module
(import "library" "memory" (memory 1))
(import "host" "random" (func $random (param i64 i32)))
(func (export "handle") (param i32 i32)
  (call $random (i64.const -1) (i32.const 0)))
