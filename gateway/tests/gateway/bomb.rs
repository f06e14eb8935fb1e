/// A component of one megabyte that takes gigabytes and minutes to compile.
pub(crate) fn bomb() -> Vec<u8> {
    let call = "(call_indirect (param i32) (result i32) (local.get 0) (local.get 0))";
    let step = format!("(i32.store (local.get 0) {call})");
    let function =
        format!("(table 1 funcref) (memory 1) (func (param i32) {})", step.repeat(100_000));
    let text = format!(
        r#"(component
            (import "wasi:http/types@0.2.0" (instance $types
                (export "incoming-request" (type (sub resource)))
                (export "response-outparam" (type (sub resource)))))
            (alias export $types "incoming-request" (type $request))
            (alias export $types "response-outparam" (type $outparam))
            (core module $m {} (func (export "handle") (param i32 i32)))
            (core instance $i (instantiate $m))
            (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
                (canon lift (core func $i "handle")))
            (instance $handler (export "handle" (func $handle)))
            (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#,
        function
    );
    wat::parse_str(&text).unwrap()
}
