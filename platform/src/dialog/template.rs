//! The template that a dialog is made of: Windows scales it with the font, and so with each monitor's resolution.

/// In points; the system's own dialogs use this font.
const FONT: (u16, &str) = (9, "Segoe UI");

/// The kind of a control, as templates name it.
#[derive(Clone, Copy)]
pub(super) enum Class {
    Button,
    Edit,
    Static,
    List,
}

/// A control's place, in dialog units.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) x: i16,
    pub(super) y: i16,
    pub(super) width: i16,
    pub(super) height: i16,
}

/// A DLGTEMPLATEEX.
pub(super) struct Template(Vec<u16>);

/// The index of the number of controls.
const COUNT: usize = 8;

impl Template {
    pub(super) fn new(title: &str, size: (i16, i16), style: u32, extended: u32) -> Self {
        let mut template = Self(vec![1, 0xffff]);
        for long in [0, extended, style] {
            template.long(long);
        }
        // No control yet; no menu and no class of its own.
        template.0.extend([0, 0, 0, size.0 as u16, size.1 as u16, 0, 0]);
        template.text(title);
        // Normal weight, upright, any character set.
        template.0.extend([FONT.0, 400, 0x0100]);
        template.text(FONT.1);
        template
    }

    pub(super) fn add(&mut self, class: Class, id: u16, text: &str, place: Place, style: u32) {
        if self.0.len() % 2 == 1 {
            self.0.push(0);
        }
        for long in [0, 0, style] {
            self.long(long);
        }
        let Place { x, y, width, height } = place;
        self.0.extend([x, y, width, height].map(|value| value as u16));
        self.long(u32::from(id));
        match class {
            Class::Button => self.0.extend([0xffff, 0x80]),
            Class::Edit => self.0.extend([0xffff, 0x81]),
            Class::Static => self.0.extend([0xffff, 0x82]),
            Class::List => self.text("SysListView32"),
        }
        self.text(text);
        self.0.push(0);
        self.0[COUNT] += 1;
    }

    /// Returns it where its alignment is right.
    pub(super) fn aligned(mut self) -> Vec<u32> {
        self.0.push(0);
        self.0.chunks_exact(2).map(|pair| u32::from(pair[0]) | u32::from(pair[1]) << 16).collect()
    }

    fn long(&mut self, value: u32) {
        self.0.extend([value as u16, (value >> 16) as u16]);
    }

    fn text(&mut self, text: &str) {
        self.0.extend(text.encode_utf16().filter(|&unit| unit != 0).chain([0]));
    }
}

/// Returns how many lines `text` has at most where `width` dialog units are for each. A unit is a quarter of a mean
/// character's width.
pub(super) fn lines(text: &str, width: i16) -> i16 {
    let room = usize::from(width.unsigned_abs()) / 4;
    let mut count = 0_usize;
    for line in text.lines() {
        let mut used = 0;
        count += 1;
        for word in line.split_inclusive(' ') {
            let length = word.chars().count();
            if used > 0 && used + length > room {
                count += 1;
                used = 0;
            }
            count += length / room;
            used += length % room;
        }
    }
    i16::try_from(count).unwrap_or(i16::MAX).clamp(1, 40)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_the_lines_that_its_words_need() {
        assert_eq!(lines("", 40), 1);
        assert_eq!(lines("one two\nthree", 40), 2);
        assert_eq!(lines("one two three four", 40), 2);
        assert_eq!(lines(&"x".repeat(25), 40), 3);
    }

    #[test]
    fn controls_begin_at_multiples_of_four_bytes() {
        for title in ["", "a", "ab", "abc"] {
            let mut template = Template::new(title, (10, 10), 0, 0);
            let place = Place { x: 1, y: 2, width: 3, height: 4 };
            template.add(Class::Static, 7, title, place, 0x5000_0000);
            let start = template.0.len();
            template.add(Class::List, 8, "", place, 0x5000_0000);
            assert_eq!(template.0[COUNT], 2);
            let second = start.next_multiple_of(2);
            assert_eq!(template.0[second..second + 6], [0, 0, 0, 0, 0, 0x5000]);
        }
    }
}
