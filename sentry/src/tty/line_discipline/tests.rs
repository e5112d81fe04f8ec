use super::*;
use crate::BytesSink;

fn typed(discipline: &mut LineDiscipline, text: &[u8]) -> Effects {
    discipline.receive(text)
}

fn line(discipline: &mut LineDiscipline) -> Vec<u8> {
    let mut sink = BytesSink::new(10_000);
    discipline.read(&mut sink).unwrap();
    sink.bytes
}

fn screen(discipline: &mut LineDiscipline) -> Vec<u8> {
    let mut sink = BytesSink::new(100_000);
    discipline.take_output(&mut sink).unwrap();
    sink.bytes
}

#[test]
fn erase_kill_and_word_erase_edit_the_line() {
    let mut discipline = LineDiscipline::new();
    typed(&mut discipline, b"abx\x7fc\n");
    assert_eq!(screen(&mut discipline), b"abx\x08 \x08c\r\n");
    assert_eq!(line(&mut discipline), b"abc\n");
    typed(&mut discipline, b"one two  \x17three\x15four\n");
    assert_eq!(line(&mut discipline), b"four\n");
    typed(&mut discipline, b"one two\x17!\n");
    assert_eq!(line(&mut discipline), b"one !\n");
    typed(&mut discipline, b"\x7f\x7f\n");
    assert_eq!(line(&mut discipline), b"\n");
}

#[test]
fn erasing_takes_back_what_was_shown() {
    let mut discipline = LineDiscipline::new();
    typed(&mut discipline, b"a\t\x7f");
    assert_eq!(screen(&mut discipline), b"a\t\x08\x08\x08\x08\x08\x08\x08");
    typed(&mut discipline, b"\x15\x01\x7f");
    assert_eq!(screen(&mut discipline), b"\x08 \x08^A\x08 \x08\x08 \x08");
}

#[test]
fn an_end_of_file_ends_a_read_without_a_line() {
    let mut discipline = LineDiscipline::new();
    typed(&mut discipline, b"abc\x04");
    assert_eq!(discipline.readable(), 3);
    assert_eq!(line(&mut discipline), b"abc");
    assert!(!discipline.has_readable(false));
    typed(&mut discipline, b"\x04");
    assert!(discipline.has_readable(false));
    assert_eq!(line(&mut discipline), b"");
    // It does not show up as a second, empty read when it was right behind what was asked for.
    typed(&mut discipline, b"xyz\x04");
    let mut sink = BytesSink::new(3);
    assert_eq!(discipline.read(&mut sink), Ok(3));
    assert!(!discipline.has_readable(false));
}

#[test]
fn signal_characters_flush_and_signal() {
    let mut discipline = LineDiscipline::new();
    let effects = typed(&mut discipline, b"half a line\x03");
    assert_eq!(effects.signals, [Signal::SIGINT]);
    assert!(effects.flushed);
    assert_eq!(screen(&mut discipline), b"^C");
    typed(&mut discipline, b"\n");
    assert_eq!(line(&mut discipline), b"\n");
    assert_eq!(typed(&mut discipline, b"\x1c\x1a").signals, [Signal::SIGQUIT, Signal::SIGTSTP]);
    let mut settings = *discipline.settings();
    settings.local &= !LocalFlags::ISIG.bits();
    discipline.set_settings(settings);
    assert_eq!(typed(&mut discipline, b"\x03\n"), Effects::default());
    assert_eq!(line(&mut discipline), b"\x03\n");
}

#[test]
fn stop_and_start_hold_the_output() {
    let mut discipline = LineDiscipline::new();
    assert_eq!(typed(&mut discipline, b"\x13").stopped, Some(true));
    assert_eq!(discipline.output_room(), 0);
    assert_eq!(typed(&mut discipline, b"x").stopped, None);
    assert_eq!(typed(&mut discipline, b"\x11").stopped, Some(false));
    assert!(discipline.output_room() > 0);
}

#[test]
fn the_next_character_may_be_taken_literally() {
    let mut discipline = LineDiscipline::new();
    let effects = typed(&mut discipline, b"a\x16\x03b\n");
    assert_eq!(effects.signals, []);
    assert_eq!(line(&mut discipline), b"a\x03b\n");
    assert_eq!(screen(&mut discipline), b"a^\x08^Cb\r\n");
}

#[test]
fn input_characters_are_mapped() {
    let mut discipline = LineDiscipline::new();
    let mut settings = standard_settings();
    settings.input = (InputFlags::INLCR | InputFlags::ISTRIP).bits();
    settings.local = 0;
    discipline.set_settings(settings);
    typed(&mut discipline, b"a\n\r\xc1");
    assert_eq!(line(&mut discipline), b"a\r\rA");
    settings.input = InputFlags::IGNCR.bits();
    discipline.set_settings(settings);
    typed(&mut discipline, b"a\r\n");
    assert_eq!(line(&mut discipline), b"a\n");
}

#[test]
fn output_is_processed_only_if_wanted() {
    let mut discipline = LineDiscipline::new();
    discipline.write(b"a\nb");
    assert_eq!(screen(&mut discipline), b"a\r\nb");
    let mut settings = standard_settings();
    settings.output |= OutputFlags::XTABS.bits();
    discipline.set_settings(settings);
    discipline.write(b"\rab\tc");
    assert_eq!(screen(&mut discipline), b"\rab      c");
    settings.output = OutputFlags::ONLCR.bits();
    discipline.set_settings(settings);
    discipline.write(b"a\nb");
    assert_eq!(screen(&mut discipline), b"a\nb");
}

#[test]
fn leaving_canonical_mode_makes_what_was_typed_readable() {
    let mut discipline = LineDiscipline::new();
    typed(&mut discipline, b"partial");
    assert!(!discipline.has_readable(true));
    let canonical = *discipline.settings();
    let mut raw = canonical;
    raw.local &= !LocalFlags::ICANON.bits();
    discipline.set_settings(raw);
    assert!(discipline.has_readable(true));
    assert_eq!(discipline.readable(), 7);
    discipline.set_settings(canonical);
    assert_eq!(line(&mut discipline), b"partial");
}

#[test]
fn a_line_that_is_too_long_is_cut_and_can_still_be_ended() {
    let mut discipline = LineDiscipline::new();
    for _ in 0..10 {
        typed(&mut discipline, &[b'x'; 1000]);
    }
    typed(&mut discipline, b"\n");
    assert_eq!(line(&mut discipline).len(), INPUT_SIZE);
    for _ in 0..3000 {
        typed(&mut discipline, b"\x12abcdefgh");
    }
    assert!(discipline.output_length() <= OUTPUT_LIMIT);
}

#[test]
fn multibyte_characters_are_erased_whole() {
    let mut discipline = LineDiscipline::new();
    let mut settings = standard_settings();
    settings.input |= InputFlags::IUTF8.bits();
    discipline.set_settings(settings);
    typed(&mut discipline, "aä\u{7f}b\n".as_bytes());
    assert_eq!(line(&mut discipline), b"ab\n");
    assert_eq!(screen(&mut discipline), "aä\u{8} \u{8}b\r\n".as_bytes());
}
