//! A message of a tunnel: read or refused; what is read and written again reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use winstead_agent::wins::remotedialer::Message;

fuzz_target!(|data: &[u8]| {
    let bytes = bytes::Bytes::copy_from_slice(data);
    if let Ok(message) = Message::parse(&bytes)
        && !matches!(message, Message::Connect(..) | Message::Error(..) | Message::Other(_))
    {
        assert_eq!(Message::parse(&message.encode(7)), Ok(message));
    }
});
