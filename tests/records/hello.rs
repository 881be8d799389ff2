//! A ClientHello, byte by byte (RFC 8446, 4.1.2).

/// What may be wrong with it.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) version: [u8; 2],
    /// Of the extension `supported_versions`, which older clients do not have.
    pub(crate) versions: Option<Vec<[u8; 2]>>,
    /// What the extensions for the server's name carry.
    pub(crate) names: Vec<Vec<u8>>,
    /// Bytes of an extension that nobody knows.
    pub(crate) padding: usize,
}

impl Default for Hello {
    fn default() -> Self {
        Self {
            version: [3, 3],
            versions: Some(vec![[3, 4]]),
            names: vec![name_list(&[b"server.test"])],
            padding: 0,
        }
    }
}

impl Hello {
    /// Returns the message, with its header.
    pub(crate) fn message(&self) -> Vec<u8> {
        let mut body = self.version.to_vec();
        body.extend([7; 32]);
        body.extend(vector8(&[9; 32]));
        // TLS_AES_256_GCM_SHA384, and one of TLS 1.2.
        body.extend(vector16(&[0x13, 0x02, 0xC0, 0x2C]));
        body.extend(vector8(&[0]));
        body.extend(vector16(&self.extensions()));
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[1], &len[1..], &body].concat()
    }

    /// Returns it in one record, or in several if it does not fit.
    pub(crate) fn records(&self) -> Vec<u8> {
        in_records(&self.message(), 16 * 1024)
    }

    fn extensions(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut add = |number: u16, content: &[u8]| {
            all.extend(number.to_be_bytes());
            all.extend(vector16(content));
        };
        for name in &self.names {
            add(0, name);
        }
        // X25519; ECDSA with SHA-256 on P-256; the key share of X25519.
        add(10, &vector16(&[0, 29]));
        add(13, &vector16(&[4, 3]));
        let share = [&[0, 29][..], &vector16(&[9; 32])].concat();
        add(51, &vector16(&share));
        if let Some(versions) = &self.versions {
            add(43, &vector8(&versions.concat()));
        }
        add(11, &vector8(&[0]));
        if self.padding > 0 {
            add(21, &vec![0; self.padding]);
        }
        all
    }
}

/// What the extension carries for host names (RFC 6066, 3).
pub(crate) fn name_list(names: &[&[u8]]) -> Vec<u8> {
    let name = |name: &&[u8]| [&[0][..], &vector16(name)].concat();
    let list: Vec<_> = names.iter().flat_map(name).collect();
    vector16(&list)
}

/// Cuts a message of the handshake into records.
pub(crate) fn in_records(message: &[u8], most: usize) -> Vec<u8> {
    let pieces = message.chunks(most);
    pieces
        .flat_map(|piece| super::record(super::HANDSHAKE, piece))
        .collect()
}

fn vector8(content: &[u8]) -> Vec<u8> {
    [&[u8::try_from(content.len()).unwrap()], content].concat()
}

fn vector16(content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&len, content].concat()
}
