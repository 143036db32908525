package ticketapi;

import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What {@link TicketApi#sign} has signed. Every payload's id is in {@link #signatures} or in {@link #failed}. */
public final class Signatures {
    private final byte[][] certificates;
    private final Instant time;
    private final String[] ids;
    private final Map<String, byte[]> signatures = new LinkedHashMap<>();
    private final Map<String, TicketException> failed = new LinkedHashMap<>();

    Signatures(byte[][] certificates, long time, String[] ids, byte[][] bytes) {
        this.certificates = certificates;
        this.time = Instant.ofEpochSecond(time);
        this.ids = ids;
        for (int i = 0; i < ids.length; i++) {
            if (bytes[i] != null) {
                signatures.put(ids[i], bytes[i]);
            }
        }
    }

    void failed(int index, TicketException reason) {
        failed.put(ids[index], reason);
    }

    /**
     * The signatures, in the request's format and order.
     *
     * @return by the payloads' ids
     */
    public Map<String, byte[]> signatures() {
        return Collections.unmodifiableMap(signatures);
    }

    /**
     * Why payloads could not be signed.
     *
     * @return by their ids; empty if everything was signed
     */
    public Map<String, TicketException> failed() {
        return Collections.unmodifiableMap(failed);
    }

    /**
     * The signer's certificate.
     *
     * @return in DER
     */
    public byte[] certificate() {
        return certificates[0].clone();
    }

    /**
     * The certificates of its issuers, as far as the card has them.
     *
     * @return each in DER, before that of its own issuer
     */
    public List<byte[]> chain() {
        List<byte[]> chain = new ArrayList<>();
        for (int i = 1; i < certificates.length; i++) {
            chain.add(certificates[i].clone());
        }
        return chain;
    }

    /**
     * When it was signed, by this computer's clock.
     *
     * @return in whole seconds
     */
    public Instant time() {
        return time;
    }
}
