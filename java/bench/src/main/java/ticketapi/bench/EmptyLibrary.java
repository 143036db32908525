package ticketapi.bench;

/** The floor of {@link FirstTicket}: a JVM that loads an empty native library. */
public final class EmptyLibrary {
    private EmptyLibrary() {
    }

    public static void main(String[] arguments) {
        System.load(arguments[0]);
        System.out.println((String) null);
    }
}
