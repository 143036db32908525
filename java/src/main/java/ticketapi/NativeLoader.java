package ticketapi;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;

/** Finds the native library; see {@link TicketApi#load()}. */
final class NativeLoader {
    private static final String LIBRARY_PROPERTY = "ticketapi.library";
    private static final String[] NAMES = {"ticketapi", "TicketApiDll"};

    /** Each place that was tried, with the reason why nothing was loaded from it. */
    private final List<String> failures = new ArrayList<>();

    private static boolean loaded;

    private NativeLoader() {
    }

    static synchronized void load() throws TicketException {
        if (!loaded) {
            NativeLoader loader = new NativeLoader();
            if (!loader.loadUnlessForbidden()) {
                String places = String.join("\n  ", loader.failures);
                throw new TicketException(TicketException.NOT_INSTALLED, null,
                        "The native library cannot be loaded:\n  " + places,
                        "Install it, or set the system property " + LIBRARY_PROPERTY + " to its file.", -1);
            }
            loaded = true;
        }
    }

    private boolean loadUnlessForbidden() throws TicketException {
        try {
            return loadFromAnywhere();
        } catch (RuntimeException e) {
            if (!isForbidden(e)) {
                throw e;
            }
            throw new TicketException(TicketException.NOT_INSTALLED, null,
                    "This JVM does not allow native libraries (" + e.getMessage() + "): start it with --enable-native-access=ALL-UNNAMED,"
                    + " or --enable-native-access=ticketapi where the jar is on the module path",
                    "Start Java with --enable-native-access.", -1);
        }
    }

    /** Thrown by Java 24 and later with {@code --illegal-native-access=deny}. Java 8 does not have this class. */
    private static boolean isForbidden(Exception e) {
        return e.getClass().getName().equals("java.lang.IllegalCallerException");
    }

    private boolean loadFromAnywhere() {
        String named = System.getProperty(LIBRARY_PROPERTY);
        if (named != null && loadFile(LIBRARY_PROPERTY + " = " + named, Paths.get(named).toAbsolutePath())) {
            return true;
        }
        for (String name : NAMES) {
            String place = "System.loadLibrary(\"" + name + "\")";
            Path file = onLibraryPath(name);
            if ((file == null || isWhole(place, file)) && tried(place, file, name)) {
                return true;
            }
        }
        return loadBundled();
    }

    /** Returns the file that the JVM will load, or null if there is none. */
    private static Path onLibraryPath(String name) {
        for (String folder : System.getProperty("java.library.path", "").split(File.pathSeparator)) {
            Path file = Paths.get(folder, System.mapLibraryName(name));
            if (Files.isRegularFile(file)) {
                return file;
            }
        }
        return null;
    }

    private boolean loadBundled() {
        String place = "the library in the jar";
        try (Bundle bundle = Bundle.open()) {
            place += ", unpacked into " + OwnFolder.path();
            Path library = bundle.unpack();
            if (library == null) {
                failures.add("the library in the jar: it has none for " + Bundle.platform());
                return false;
            }
            return tried(place, library, null);
        } catch (IOException e) {
            failures.add(place + ": " + e.getMessage());
            return false;
        } catch (RuntimeException e) {
            if (isForbidden(e)) {
                throw e;
            }
            failures.add(place + ": " + e.getMessage());
            return false;
        }
    }

    private boolean loadFile(String place, Path file) {
        if (!Files.isRegularFile(file)) {
            failures.add(place + ": there is no such file");
            return false;
        }
        return isWhole(place, file) && tried(place, file, null);
    }

    private boolean isWhole(String place, Path file) {
        if (Elf.isCutOff(file)) {
            failures.add(place + ": the end of the file " + file + " is missing");
            return false;
        }
        return true;
    }

    private static void load(Path file) {
        try {
            System.load(file.toString());
        } catch (UnsatisfiedLinkError e) {
            if (!isLoadedElsewhere(e)) {
                throw e;
            }
            loadByAnotherName(file);
        }
    }

    /**
     * A JVM loads a file for one class loader only, and identifies files by name. Under another name the system
     * finds the file already in memory, so that all class loaders share one session.
     */
    private static void loadByAnotherName(Path file) {
        Path link = null;
        try {
            if (OwnFolder.WINDOWS) {
                throw new IOException("Windows would load it twice");
            }
            link = Files.createLink(OwnFolder.make().resolve("shared-" + UUID.randomUUID() + ".so"), file);
            System.load(link.toString());
        } catch (IOException e) {
            throw new UnsatisfiedLinkError("another class loader of this JVM has loaded " + file + ", and it cannot be linked to "
                    + "by another name (" + e.getMessage() + "). Put the jar where both class loaders find it.");
        } finally {
            if (link != null) {
                link.toFile().delete();
            }
        }
    }

    private static boolean isLoadedElsewhere(UnsatisfiedLinkError error) {
        return String.valueOf(error.getMessage()).contains("already loaded in another classloader");
    }

    /**
     * Loads the library {@code name}, which the JVM reads from {@code file}; or {@code file} itself if the name is
     * null.
     */
    private boolean tried(String place, Path file, String name) {
        try {
            // No lambdas here: a JVM's first lambda costs more than everything else.
            if (name == null) {
                load(file);
            } else {
                System.loadLibrary(name);
            }
            int version = Native.interfaceVersion();
            if (version == Native.INTERFACE) {
                return true;
            }
            failures.add(place + ": the library is of another version (" + version + ", not " + Native.INTERFACE + ")");
        } catch (UnsatisfiedLinkError e) {
            String message = String.valueOf(e.getMessage());
            if (message.contains("interfaceVersion")) {
                message = "the library is of another version, without the methods of this jar";
            } else if (isLoadedElsewhere(e)) {
                message = "another class loader of this JVM has loaded it; put the jar where both class loaders find it";
            }
            File mount = file == null ? null : OwnFolder.mountedWithoutExecution(file);
            failures.add(place + ": " + message
                    + (mount == null ? "" : "; the file system at " + mount + " is mounted noexec"));
        } catch (SecurityException e) {
            failures.add(place + ": " + e.getMessage());
        }
        return false;
    }
}
