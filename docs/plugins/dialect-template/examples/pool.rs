//! A pool to try the dialect with: it lets everybody in and likes every share.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::{TcpListener, TcpStream};

fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:14444")?;
    println!("open");
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || serve(stream));
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> Result<()> {
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        println!("{line}");
        let answer = if line.starts_with("login") { "ok\nwork 7 2.5 9f3a\n" } else { "ok\n" };
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}
