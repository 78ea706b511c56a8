"""Every cryptographic step of a vault, from bytes to bytes: no file, no clock, no policy.

This is the only package that imports a cryptographic library. What the bytes mean is written in
`FORMAT.md`; the numbers of its sections stand beside the functions that implement them.

    aead      AES-256-GCM and XChaCha20-Poly1305
    kdf       HKDF-SHA256 and Argon2id
    keys      the keys of an unlocked vault
    slots     wrapping of the root key for one credential
    preamble  the plaintext head of a vault: creating, unlocking, changing the passphrase
    blocks    the sealed blocks of the container
    nodes     the sealed parts of one memory
    graph     the sealed graph of one vector space
"""
