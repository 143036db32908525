package ticketapi.tests;

import java.security.Permission;

/** The same as {@link Loading}, in a JVM that allows no native library, as Java 24 and later can be set. */
public final class Forbidden {
    private Forbidden() {
    }

    @SuppressWarnings({"deprecation", "removal"})
    public static void main(String[] arguments) throws Exception {
        // By name, because Java 8 does not have it.
        RuntimeException illegal = (RuntimeException) Class.forName("java.lang.IllegalCallerException").getConstructor(String.class)
                .newInstance("Illegal native access");
        System.setSecurityManager(new SecurityManager() {
            @Override
            public void checkPermission(Permission permission) {
            }

            @Override
            public void checkLink(String library) {
                if (library.contains("icket")) {
                    throw illegal;
                }
            }
        });
        Loading.main(arguments);
    }
}
