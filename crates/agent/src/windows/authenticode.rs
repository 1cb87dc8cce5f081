//! Who signed a program, by Authenticode.
#![expect(unsafe_code, reason = "no crate that is kept verifies Authenticode")]

use std::{
    io,
    path::Path,
    ptr::{null, null_mut},
    slice,
};

use sha2::{Digest as _, Sha256 as Hasher};
use windows_sys::Win32::{
    Foundation::{ERROR_SUCCESS, INVALID_HANDLE_VALUE},
    Security::{
        Cryptography::{
            CERT_CONTEXT, CERT_NAME_STR_REVERSE_FLAG, CERT_X500_NAME_STR, CertNameToStrW, X509_ASN_ENCODING,
        },
        WinTrust::{
            WINTRUST_ACTION_GENERIC_VERIFY_V2, WINTRUST_DATA, WINTRUST_DATA_0, WINTRUST_FILE_INFO,
            WTD_CACHE_ONLY_URL_RETRIEVAL, WTD_CHOICE_FILE, WTD_DISABLE_MD2_MD4, WTD_REVOCATION_CHECK_NONE,
            WTD_REVOKE_NONE, WTD_STATEACTION_CLOSE, WTD_STATEACTION_VERIFY, WTD_UI_NONE,
            WTHelperGetProvSignerFromChain, WTHelperProvDataFromStateData, WinVerifyTrust,
        },
    },
};
use winstead_spec::Sha256;

use crate::{
    access::Signer,
    windows::memory::{size, text, wide},
};

/// A program of one instruction, signed by osslsigncode with a certificate, good until 2126, that nobody vouches for. Its
/// keys were thrown away.
pub(crate) const STRANGER: &[u8] = include_bytes!("stranger.exe");

/// A name that is longer is none.
const LONGEST_NAME: u32 = 4096;

/// Who signed the program in this file, which nobody else may change meanwhile: the first signature that is in the file
/// itself, when it is right for these bytes and its certificate leads to a root that Windows trusts for programs.
///
/// Nothing is asked of the network: a node may have none, and nobody is to wait for it. So it is not asked whether a
/// certificate was called back; one in Windows' store of distrusted certificates counts as that. Blocks: the file is hashed.
///
/// # Errors
/// What Windows says against it: there is no signature, it is for other bytes, nobody vouches for the certificate.
pub(crate) fn signer(file: &Path) -> io::Result<Signer> {
    let path = wide(file);
    let mut about = WINTRUST_FILE_INFO {
        cbStruct: size::<WINTRUST_FILE_INFO>(),
        pcwszFilePath: path.as_ptr(),
        ..Default::default()
    };
    let mut data = WINTRUST_DATA {
        cbStruct: size::<WINTRUST_DATA>(),
        dwUIChoice: WTD_UI_NONE,
        fdwRevocationChecks: WTD_REVOKE_NONE,
        dwUnionChoice: WTD_CHOICE_FILE,
        Anonymous: WINTRUST_DATA_0 { pFile: &raw mut about },
        dwProvFlags: WTD_REVOCATION_CHECK_NONE | WTD_CACHE_ONLY_URL_RETRIEVAL | WTD_DISABLE_MD2_MD4,
        ..Default::default()
    };
    let verified = ask(&mut data, WTD_STATEACTION_VERIFY);
    // The certificate lies in what is given back by closing.
    // SAFETY: it was just verified, and is not closed yet.
    let signer = verified.and_then(|()| unsafe { first_signer(&data) });
    let closed = ask(&mut data, WTD_STATEACTION_CLOSE);
    signer.and_then(|signer| closed.map(|()| signer))
}

fn ask(data: &mut WINTRUST_DATA, action: u32) -> io::Result<()> {
    let mut how = WINTRUST_ACTION_GENERIC_VERIFY_V2;
    data.dwStateAction = action;
    // SAFETY: both structures are whole and say their sizes; no window (the handle of none) is asked.
    let answer =
        unsafe { WinVerifyTrust(INVALID_HANDLE_VALUE, &raw mut how, std::ptr::from_mut(data).cast()) };
    if answer.cast_unsigned() == ERROR_SUCCESS { Ok(()) } else { Err(io::Error::from_raw_os_error(answer)) }
}

/// The certificate of the first signature.
///
/// # Safety
/// It was verified, and not closed since.
unsafe fn first_signer(data: &WINTRUST_DATA) -> io::Result<Signer> {
    let nobody = || io::Error::other("Windows does not say whose signature it is");
    // SAFETY: both calls return null or what lives as long as the state; the first certificate is the signer's own.
    unsafe {
        let state = WTHelperProvDataFromStateData(data.hWVTStateData);
        let signer = if state.is_null() { null() } else { WTHelperGetProvSignerFromChain(state, 0, 0, 0) };
        let chain = signer.as_ref().filter(|signer| signer.csCertChain > 0).ok_or_else(nobody)?;
        let first = chain.pasCertChain.as_ref().ok_or_else(nobody)?;
        let certificate = first.pCert.as_ref().ok_or_else(nobody)?;
        Ok(Signer { subject: subject(certificate).ok_or_else(nobody)?, sha256: thumbprint(certificate) })
    }
}

/// As PowerShell's `Get-AuthenticodeSignature` shows it: `CN=Tools, O=Example Inc., C=US`.
///
/// # Safety
/// The certificate is whole.
unsafe fn subject(certificate: &CERT_CONTEXT) -> Option<String> {
    let style = CERT_X500_NAME_STR | CERT_NAME_STR_REVERSE_FLAG;
    // SAFETY: the name lies in the certificate; there is as much room as is said; the text ends with a zero.
    unsafe {
        let name = &raw const (*certificate.pCertInfo).Subject;
        let length = CertNameToStrW(X509_ASN_ENCODING, name, style, null_mut(), 0);
        if length > LONGEST_NAME {
            return None;
        }
        let mut room = vec![0_u16; length as usize + 1];
        CertNameToStrW(X509_ASN_ENCODING, name, style, room.as_mut_ptr(), length);
        Some(text(room.as_ptr()))
    }
}

/// # Safety
/// The certificate is whole.
unsafe fn thumbprint(certificate: &CERT_CONTEXT) -> Sha256 {
    // SAFETY: it has as many bytes as it says.
    let encoded =
        unsafe { slice::from_raw_parts(certificate.pbCertEncoded, certificate.cbCertEncoded as usize) };
    Sha256::from(<[u8; 32]>::from(Hasher::digest(encoded)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::is_wine;

    const THUMBPRINT: &str = "6aee574e80ad2e0a3c88a009ff6ffa544f1d975bf138e55c6317d2175f485be2";

    fn signer_of(program: &[u8]) -> io::Result<Signer> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("program");
        fs_err::write(&file, program).expect("a file");
        signer(&file)
    }

    #[test]
    fn a_signature_counts_for_the_bytes_that_were_signed() {
        assert!(signer_of(b"MZ no program").is_err(), "there is no signature");
        let signer = signer_of(STRANGER);
        if is_wine() {
            // It does not ask who vouches for a certificate.
            let signer = signer.expect("it is right");
            assert_eq!(signer.subject, "CN=Test signer, O=Winstead tests, C=XX");
            assert_eq!(signer.sha256.hex(), THUMBPRINT);
        } else {
            assert!(signer.is_err(), "nobody vouches for it");
        }
        let mut other = STRANGER.to_vec();
        // In its only instruction.
        other[0x401] ^= 1;
        assert!(signer_of(&other).is_err(), "it is for other bytes");
    }
}
