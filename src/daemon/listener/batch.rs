//! Many datagrams a system call: `recvmmsg` and `sendmmsg` with the address that was asked, in memory used for ever.
//!
//! The one place where a listener needs unsafe code: the kernel reads and writes through pointers into buffers that live as
//! long as the [`Batch`]. It knows octets and addresses, nothing of DNS.

// The C libraries do not agree on the width of a control length.
#![allow(clippy::unnecessary_cast)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::engine::limits::UDP_QUERY_OCTETS_MAX;

/// Datagrams of one system call. Chosen: the call's cost is spread over enough of them, and the answers' wait stays short.
pub(in crate::daemon) const DATAGRAMS: usize = 64;
/// From one buffer to the next: the line more keeps their beginnings out of one set of the cache.
const STRIDE: usize = UDP_QUERY_OCTETS_MAX + 64 + 128;
/// Room for the packet information of either family: a header of 16 octets and at most 20 of data.
const CONTROL_OCTETS: usize = 64;

/// Control data, aligned as its headers must be.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_OCTETS]);

/// How it is known which address a datagram was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::daemon) enum Asked {
    /// The socket has this one alone, or nobody wants to know: the kernel need not tell, nor be told where answers leave
    /// from.
    Fixed(Option<IpAddr>),
    /// The kernel says so with each.
    Told,
}

/// Buffers for one batch of datagrams and its answers.
pub(in crate::daemon) struct Batch {
    asked: Asked,
    octets: Box<[u8]>,
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    received: Box<[libc::mmsghdr]>,
    sent: Box<[libc::mmsghdr]>,
    /// For `received`; the pointers hold as long as the boxes above.
    _places: Box<[libc::iovec]>,
    answers: Vec<u8>,
    /// Which datagram each answer is for, and where it ends in `answers`.
    ends: Vec<(usize, usize)>,
    answer_places: Box<[libc::iovec]>,
}

// SAFETY: the pointers inside lead to the batch's own boxes, which move with it and stay where they are on the heap.
#[allow(unsafe_code)]
unsafe impl Send for Batch {}

/// One datagram of a batch.
pub(in crate::daemon) struct Datagram<'b> {
    pub octets: &'b [u8],
    /// It was longer than anything that is read.
    pub is_cut: bool,
    pub source: SocketAddr,
    /// The address it was sent to.
    pub local: Option<IpAddr>,
}

/// Makes a socket wake up now and then when no datagram comes, and tell which address each was sent to if it has several.
pub(in crate::daemon) fn prepare(socket: &UdpSocket, wake_every: Duration) -> io::Result<Asked> {
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(wake_every))?;
    let address = socket.local_addr()?.ip();
    let (level, option) = match address {
        _ if !address.is_unspecified() => return Ok(Asked::Fixed(Some(address))),
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    let on: libc::c_int = 1;
    #[allow(unsafe_code)]
    // SAFETY: the option's value is a C int, and its address and size are given.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), size_of_val(&on) as libc::socklen_t)
    };
    if done == 0 { Ok(Asked::Told) } else { Err(io::Error::last_os_error()) }
}

/// Octets of control messages that came with a datagram.
#[allow(clippy::unnecessary_cast, reason = "the field is narrower with musl")]
fn control_len(received: &libc::mmsghdr) -> usize {
    (received.msg_hdr.msg_controllen as usize).min(CONTROL_OCTETS)
}

impl Asked {
    /// Octets of control data that the kernel may write.
    fn control_octets(self) -> usize {
        match self {
            Asked::Fixed(_) => 0,
            Asked::Told => CONTROL_OCTETS,
        }
    }
}

impl Batch {
    pub(in crate::daemon) fn new(asked: Asked) -> Batch {
        let mut octets = vec![0; DATAGRAMS * STRIDE].into_boxed_slice();
        let mut places: Box<[libc::iovec]> = octets
            .chunks_exact_mut(STRIDE)
            .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: UDP_QUERY_OCTETS_MAX })
            .collect();
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        #[allow(unsafe_code)]
        // SAFETY: both are C structs for which zero octets are a value: no address, no message.
        let (address, header): (libc::sockaddr_storage, libc::mmsghdr) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let mut batch = Batch {
            asked,
            addresses: vec![address; DATAGRAMS].into(),
            controls: vec![Control([0; CONTROL_OCTETS]); DATAGRAMS].into(),
            received: vec![header; DATAGRAMS].into(),
            sent: vec![header; DATAGRAMS].into(),
            answer_places: vec![empty; DATAGRAMS].into(),
            // Every answer of a batch at its largest; it never grows, so nothing in it moves.
            answers: Vec::with_capacity(DATAGRAMS * UDP_QUERY_OCTETS_MAX),
            ends: Vec::with_capacity(DATAGRAMS),
            octets,
            _places: Box::default(),
        };
        for i in 0..DATAGRAMS {
            let message = &mut batch.received[i].msg_hdr;
            message.msg_name = (&raw mut batch.addresses[i]).cast();
            message.msg_iov = &raw mut places[i];
            message.msg_iovlen = 1;
            message.msg_control = batch.controls[i].0.as_mut_ptr().cast();
        }
        batch._places = places;
        batch
    }

    /// Receives what is there, and waits for the first datagram if `waiting`. Says how many came.
    pub(in crate::daemon) fn receive(&mut self, socket: &UdpSocket, waiting: bool) -> io::Result<usize> {
        for message in &mut self.received {
            message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            message.msg_hdr.msg_controllen = self.asked.control_octets() as _;
        }
        let flags = if waiting { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        #[allow(unsafe_code)]
        // SAFETY: every header leads to an address, a buffer and control data of this batch, with their sizes.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.received.as_mut_ptr(),
                DATAGRAMS as libc::c_uint,
                flags as _,
                std::ptr::null_mut(),
            )
        };
        self.answers.clear();
        self.ends.clear();
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// The datagram number `i` of those received.
    pub(in crate::daemon) fn datagram(&self, i: usize) -> Option<Datagram<'_>> {
        let message = &self.received[i];
        let source = read_address(&self.addresses[i])?;
        Some(Datagram {
            octets: self.octets(i),
            is_cut: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            source,
            local: match self.asked {
                Asked::Fixed(local) => local,
                Asked::Told => local_address(self.control(i), source.is_ipv4()),
            },
        })
    }

    /// The octets of the datagram number `i`.
    pub(in crate::daemon) fn octets(&self, i: usize) -> &[u8] {
        let len = (self.received[i].msg_len as usize).min(UDP_QUERY_OCTETS_MAX);
        &self.octets[i * STRIDE..][..len]
    }

    fn control(&self, i: usize) -> &[u8] {
        &self.controls[i].0[..control_len(&self.received[i])]
    }

    /// Puts an answer to datagram `i` with the others.
    pub(in crate::daemon) fn answer(&mut self, i: usize, octets: &[u8]) {
        if self.answers.len() + octets.len() <= self.answers.capacity() && self.ends.len() < DATAGRAMS {
            self.answers.extend_from_slice(octets);
            self.ends.push((i, self.answers.len()));
        }
    }

    /// Sends every answer from the address that was asked. One that the kernel does not take is lost, as UDP may be.
    pub(in crate::daemon) fn send(&mut self, socket: &UdpSocket) {
        let mut start = 0;
        for (k, &(i, end)) in self.ends.iter().enumerate() {
            let octets = &mut self.answers[start..end];
            start = end;
            self.answer_places[k] = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: octets.len() };
            leave_any_interface(&mut self.controls[i].0[..control_len(&self.received[i])]);
            let asked = &self.received[i].msg_hdr;
            let message = &mut self.sent[k].msg_hdr;
            message.msg_name = asked.msg_name;
            message.msg_namelen = asked.msg_namelen;
            message.msg_iov = &raw mut self.answer_places[k];
            message.msg_iovlen = 1;
            message.msg_control = asked.msg_control;
            message.msg_controllen = asked.msg_controllen;
        }
        send_all(socket, &mut self.sent[..self.ends.len()]);
    }
}

/// Answers to questions of earlier batches, sent together.
pub(in crate::daemon) struct Outbox {
    asked: Asked,
    octets: Vec<u8>,
    letters: Vec<Letter>,
    places: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: the pointers inside are written anew before each system call, and lead to the outbox's own memory.
#[allow(unsafe_code)]
unsafe impl Send for Outbox {}

struct Letter {
    end: usize,
    /// `None`: where the socket is connected to.
    to: Option<socket2::SockAddr>,
    control: Control,
    control_len: usize,
}

impl Outbox {
    pub(in crate::daemon) fn new(asked: Asked) -> Outbox {
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        #[allow(unsafe_code)]
        // SAFETY: as in `Batch::new`.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Outbox {
            asked,
            octets: Vec::with_capacity(DATAGRAMS * 256),
            letters: Vec::with_capacity(DATAGRAMS),
            places: vec![empty; DATAGRAMS].into(),
            headers: vec![header; DATAGRAMS].into(),
        }
    }

    pub(in crate::daemon) fn push(&mut self, octets: &[u8], to: SocketAddr, from: Option<IpAddr>) {
        self.octets.extend_from_slice(octets);
        let mut control = Control([0; CONTROL_OCTETS]);
        let from = from.filter(|_| self.asked == Asked::Told);
        let control_len = from.map_or(0, |from| write_control(&mut control.0, from));
        self.letters.push(Letter { end: self.octets.len(), to: Some(to.into()), control, control_len });
    }

    /// For a socket that is connected.
    pub(in crate::daemon) fn push_connected(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
        let control = Control([0; CONTROL_OCTETS]);
        self.letters.push(Letter { end: self.octets.len(), to: None, control, control_len: 0 });
    }

    /// Sends everything from the address each was asked at; what the kernel does not take is lost, as UDP may be.
    pub(in crate::daemon) fn send(&mut self, socket: &UdpSocket) {
        let mut start = 0;
        for letters in self.letters.chunks_mut(DATAGRAMS) {
            for (letter, (header, place)) in letters.iter_mut().zip(self.headers.iter_mut().zip(&mut self.places)) {
                let octets = &mut self.octets[start..letter.end];
                start = letter.end;
                *place = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: octets.len() };
                let header = &mut header.msg_hdr;
                let to = letter.to.as_ref();
                header.msg_name = to.map_or(std::ptr::null_mut(), |to| to.as_ptr().cast_mut().cast());
                header.msg_namelen = to.map_or(0, socket2::SockAddr::len);
                header.msg_iov = &raw mut *place;
                header.msg_iovlen = 1;
                header.msg_control = letter.control.0.as_mut_ptr().cast();
                header.msg_controllen = letter.control_len as _;
            }
            send_all(socket, &mut self.headers[..letters.len()]);
        }
        self.letters.clear();
        self.octets.clear();
    }
}

/// Sends messages whose headers lead to memory that lives as long as the call.
fn send_all(socket: &UdpSocket, headers: &mut [libc::mmsghdr]) {
    let mut from = 0;
    while from < headers.len() {
        let rest = &mut headers[from..];
        #[allow(unsafe_code)]
        // SAFETY: the caller filled every header with an address, a buffer and control data that are alive.
        let count = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, 0) };
        match usize::try_from(count) {
            Ok(count) => from += count.max(1),
            Err(_) => {
                let why = io::Error::last_os_error();
                if why.kind() != io::ErrorKind::Interrupted {
                    tracing::debug!(error = %why, "sending failed");
                    // It is about the first one; the next may go well.
                    from += 1;
                }
            }
        }
    }
}

/// Sends one datagram from the address that was asked, without waiting.
pub(in crate::daemon) fn send_one(
    socket: &UdpSocket,
    octets: &[u8],
    to: SocketAddr,
    from: Option<IpAddr>,
) -> io::Result<()> {
    let to = socket2::SockAddr::from(to);
    let mut place = libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() };
    let mut control = Control([0; CONTROL_OCTETS]);
    let control_len = from.map_or(0, |from| write_control(&mut control.0, from));
    #[allow(unsafe_code)]
    // SAFETY: as in `Batch::new`.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = to.as_ptr().cast_mut().cast();
    message.msg_namelen = to.len();
    message.msg_iov = &raw mut place;
    message.msg_iovlen = 1;
    if control_len > 0 {
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control_len as _;
    }
    #[allow(unsafe_code)]
    // SAFETY: the header leads to values of this function, which the kernel only reads.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Octets of a control header, and of one rounded up to where data begins.
const HEADER: usize = size_of::<libc::cmsghdr>();

fn write_control(control: &mut [u8], from: IpAddr) -> usize {
    let (level, kind, len) = match from {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO, size_of::<libc::in_pktinfo>()),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, size_of::<libc::in6_pktinfo>()),
    };
    let total = HEADER + len;
    control[..size_of::<usize>()].copy_from_slice(&total.to_ne_bytes());
    control[HEADER - 8..HEADER - 4].copy_from_slice(&level.to_ne_bytes());
    control[HEADER - 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
    match from {
        // ipi_ifindex, ipi_spec_dst, ipi_addr.
        IpAddr::V4(v4) => control[HEADER + 4..HEADER + 8].copy_from_slice(&v4.octets()),
        // ipi6_addr, ipi6_ifindex.
        IpAddr::V6(v6) => control[HEADER..HEADER + 16].copy_from_slice(&v6.octets()),
    }
    total.next_multiple_of(size_of::<usize>())
}

fn local_address(control: &[u8], is_v4: bool) -> Option<IpAddr> {
    let data = control.get(HEADER..)?;
    if is_v4 {
        Some(Ipv4Addr::from(*data.get(4..)?.first_chunk::<4>()?).into())
    } else {
        Some(Ipv6Addr::from(*data.first_chunk::<16>()?).into())
    }
}

/// Answers leave as the routes say, not by the interface that the question came in; a link-local address needs its own.
fn leave_any_interface(control: &mut [u8]) {
    let Some((header, data)) = control.split_at_mut_checked(HEADER) else { return };
    let level = i32::from_ne_bytes([header[HEADER - 8], header[HEADER - 7], header[HEADER - 6], header[HEADER - 5]]);
    match (level, data.len()) {
        (libc::IPPROTO_IP, 4..) => data[..4].fill(0),
        (libc::IPPROTO_IPV6, 20..) if !(data[0] == 0xfe && data[1] & 0xc0 == 0x80) => data[16..20].fill(0),
        _ => {}
    }
}

fn read_address(address: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(address.ss_family) {
        libc::AF_INET => {
            #[allow(unsafe_code)]
            // SAFETY: the kernel wrote an address of this family into storage that is large and aligned enough for any.
            let v4 = unsafe { &*(&raw const *address).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            #[allow(unsafe_code)]
            // SAFETY: as above.
            let v6 = unsafe { &*(&raw const *address).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server bound to `bound`, its batch, and a client that asks it at `asked`.
    fn pair(bound: &str, asked: &str) -> (UdpSocket, Batch, UdpSocket) {
        let server = UdpSocket::bind((bound.parse::<IpAddr>().unwrap(), 0)).unwrap();
        let batch = Batch::new(prepare(&server, Duration::from_millis(200)).unwrap());
        let asked: IpAddr = asked.parse().unwrap();
        let client = UdpSocket::bind((asked, 0)).unwrap();
        client.connect((asked, server.local_addr().unwrap().port())).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        (server, batch, client)
    }

    #[test]
    fn a_batch_comes_and_goes_in_both_families() {
        for (bound, address) in [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.9"), ("::1", "::1"), ("::", "::1")] {
            let (server, mut batch, client) = pair(bound, address);
            for round in 0..3_u8 {
                for i in 0..10_u8 {
                    client.send(&[round, i]).unwrap();
                }
                let mut count = 0;
                while count < 10 {
                    let came = batch.receive(&server, true).unwrap();
                    for i in 0..came {
                        let Datagram { octets, is_cut, source, local } = batch.datagram(i).unwrap();
                        assert_eq!((source, is_cut), (client.local_addr().unwrap(), false));
                        assert_eq!(local, Some(address.parse().unwrap()));
                        let answer = [octets, &[7]].concat();
                        batch.answer(i, &answer);
                    }
                    batch.send(&server);
                    count += came;
                }
                for i in 0..10 {
                    let mut octets = [0; 10];
                    let len = client.recv(&mut octets).unwrap();
                    assert_eq!(octets[..len], [round, i, 7]);
                }
            }
            assert!(batch.receive(&server, false).is_err(), "nothing more came");
        }
    }

    #[test]
    fn what_is_longer_than_is_read_says_so() {
        let (server, mut batch, client) = pair("127.0.0.1", "127.0.0.1");
        for len in [UDP_QUERY_OCTETS_MAX, UDP_QUERY_OCTETS_MAX + 1] {
            client.send(&vec![1; len]).unwrap();
            assert_eq!(batch.receive(&server, true).unwrap(), 1);
            let datagram = batch.datagram(0).unwrap();
            assert_eq!((datagram.octets.len(), datagram.is_cut), (UDP_QUERY_OCTETS_MAX, len > UDP_QUERY_OCTETS_MAX));
        }
    }

    #[test]
    fn one_answer_leaves_from_the_address_asked() {
        for (any, asked) in [("0.0.0.0", "127.0.0.9"), ("::", "::1")] {
            let server = UdpSocket::bind((any.parse::<IpAddr>().unwrap(), 0)).unwrap();
            let asked: IpAddr = asked.parse().unwrap();
            let client = UdpSocket::bind((asked, 0)).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            send_one(&server, b"x", client.local_addr().unwrap(), Some(asked)).unwrap();
            let (_, from) = client.recv_from(&mut [0; 4]).unwrap();
            assert_eq!(from, SocketAddr::new(asked, server.local_addr().unwrap().port()));
        }
    }
}
