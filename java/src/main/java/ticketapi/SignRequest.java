package ticketapi;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * What to sign with the user's card, and how. A new one has no payloads; see {@link TicketApi#sign}.
 *
 * <pre>{@code
 * Signatures signatures = api.sign(new SignRequest().title("Prescription").format(SignRequest.Format.CMS).payload("1", bytes));
 * }</pre>
 */
public final class SignRequest {
    /** What a signature comes in. */
    public enum Format {
        /** The signature alone. That of an elliptic key is the numbers r and s, one after the other. */
        RAW,
        /** Detached CMS in DER (RFC 5652), with the signing time and the certificates. */
        CMS,
        /** A compact JWS with the payload and the certificates (RFC 7515). */
        JWS,
        /** An XML-DSig {@code Signature} element; each payload is a canonical {@code SignedInfo}, or its base64. */
        XMLDSIG
    }

    /** How to sign: the names are those of RFC 7518. */
    public enum Algorithm {
        /** RSASSA-PKCS1-v1_5 with SHA-256. */
        RS256,
        /** RSASSA-PKCS1-v1_5 with SHA-384. */
        RS384,
        /** RSASSA-PKCS1-v1_5 with SHA-512. */
        RS512,
        /** RSASSA-PKCS1-v1_5 with SHA-1, for services that accept nothing else. */
        RS1,
        /** RSASSA-PSS with SHA-256. */
        PS256,
        /** ECDSA on P-256 with SHA-256. */
        ES256,
        /** ECDSA on P-384 with SHA-384. */
        ES384
    }

    private final String title;
    private final Algorithm algorithm;
    private final Format format;
    private final boolean loginKey;
    private final boolean hashes;
    private final List<String> ids;
    private final List<byte[]> payloads;

    /** A request without payloads: RS256, {@link Format#RAW}, the key for signatures. */
    public SignRequest() {
        this(null, Algorithm.RS256, Format.RAW, false, false, new ArrayList<>(), new ArrayList<>());
    }

    private SignRequest(String title, Algorithm algorithm, Format format, boolean loginKey, boolean hashes,
            List<String> ids, List<byte[]> payloads) {
        this.title = title;
        this.algorithm = algorithm;
        this.format = format;
        this.loginKey = loginKey;
        this.hashes = hashes;
        this.ids = ids;
        this.payloads = payloads;
    }

    /**
     * This request with a title, which the PIN prompt shows.
     *
     * @param text what the documents are
     * @return a new object
     */
    public SignRequest title(String text) {
        return new SignRequest(Objects.requireNonNull(text), algorithm, format, loginKey, hashes, ids, payloads);
    }

    /**
     * This request with another algorithm.
     *
     * @param name the algorithm
     * @return a new object
     */
    public SignRequest algorithm(Algorithm name) {
        return new SignRequest(title, Objects.requireNonNull(name), format, loginKey, hashes, ids, payloads);
    }

    /**
     * This request for another format.
     *
     * @param wanted the format
     * @return a new object
     */
    public SignRequest format(Format wanted) {
        return new SignRequest(title, algorithm, Objects.requireNonNull(wanted), loginKey, hashes, ids, payloads);
    }

    /**
     * This request for the key for logging in, instead of the one for signatures.
     *
     * @return a new object
     */
    public SignRequest loginKey() {
        return new SignRequest(title, algorithm, format, true, hashes, ids, payloads);
    }

    /**
     * This request whose payloads are hashes, of the algorithm; only for {@link Format#RAW}.
     *
     * @return a new object
     */
    public SignRequest hashes() {
        return new SignRequest(title, algorithm, format, loginKey, true, ids, payloads);
    }

    /**
     * This request with one more payload; there may be 250, of 16 MiB together.
     *
     * @param id which the signature comes back with
     * @param bytes the payload, or its hash
     * @return a new object
     */
    public SignRequest payload(String id, byte[] bytes) {
        List<String> moreIds = new ArrayList<>(ids);
        List<byte[]> more = new ArrayList<>(payloads);
        moreIds.add(Objects.requireNonNull(id));
        more.add(bytes.clone());
        return new SignRequest(title, algorithm, format, loginKey, hashes, moreIds, more);
    }

    String[] texts() {
        return new String[] {title, algorithm.name(), format.name().toLowerCase(java.util.Locale.ROOT)};
    }

    boolean usesLoginKey() {
        return loginKey;
    }

    boolean hasHashes() {
        return hashes;
    }

    String[] ids() {
        return ids.toArray(new String[0]);
    }

    byte[][] payloads() {
        return payloads.toArray(new byte[0][]);
    }
}
