//! Greets the caller: the smallest Emberbox function.

use emberbox_sdk::{Error, Request, Response};

emberbox_sdk::main!(handle);

fn handle(request: Request) -> Result<Response, Error> {
    let name = request.query("name").unwrap_or("world");
    Ok(Response::text(format!("Hello, {name}!\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greets() {
        for (target, expect) in [("/", "Hello, world!\n"), ("/?name=M%C3%ADa+B", "Hello, Mía B!\n")]
        {
            let response = handle(Request::get(target)).unwrap();
            assert_eq!((response.status(), response.into_bytes().unwrap()), (200, expect.into()));
        }
    }
}
