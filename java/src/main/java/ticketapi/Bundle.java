package ticketapi;

import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.URISyntaxException;
import java.net.URL;
import java.net.URLConnection;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.security.CodeSource;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;

/**
 * The native library and its programs in the jar: the card helper, on Windows those of both widths, and the dialogs.
 * They are unpacked into one folder, where the library finds them.
 *
 * <p>A new JVM does all this in a few milliseconds: it reads the jar as a zip file, because reading resources
 * would first search the JDK's own.
 */
final class Bundle implements AutoCloseable {
    private static final String LIBRARY = OwnFolder.WINDOWS ? "TicketApiDll.dll" : "libticketapi.so";
    private static final String[] PROGRAMS = OwnFolder.WINDOWS
            ? new String[] {"ticketapi-card.exe", "ticketapi-card32.exe", "ticketapi-prompt.exe"}
            : new String[] {"ticketapi-card"};
    /** Written when the bytes of all files were checked: checking them again takes a JVM milliseconds. */
    private static final String CHECKED = "checked";

    /** Null if the classes are not in their own jar; the resources are then inside something else. */
    private final ZipFile jar;

    private Bundle(ZipFile jar) {
        this.jar = jar;
    }

    static Bundle open() throws IOException {
        CodeSource source = Bundle.class.getProtectionDomain().getCodeSource();
        URL location = source == null ? null : source.getLocation();
        if (location == null || !location.getProtocol().equals("file") || location.getPath().endsWith("/")) {
            return new Bundle(null);
        }
        try {
            return new Bundle(new ZipFile(Paths.get(location.toURI()).toFile()));
        } catch (URISyntaxException e) {
            return new Bundle(null);
        }
    }

    /** Maven uses the same name. That of Windows is without its version. */
    static String platform() {
        return (OwnFolder.WINDOWS ? "Windows" : System.getProperty("os.name")) + "-" + System.getProperty("os.arch");
    }

    /** Unpacks missing files. Returns the library's file, or null if there is none for this platform. */
    Path unpack() throws IOException {
        Content library = content(LIBRARY);
        if (library == null) {
            return null;
        }
        Content[] programs = new Content[PROGRAMS.length];
        for (int i = 0; i < PROGRAMS.length; i++) {
            programs[i] = content(PROGRAMS[i]);
            if (programs[i] == null) {
                return null;
            }
        }
        // Updating the jar must not remove the helper of programs that run with the old one.
        Path folder = OwnFolder.make(OwnFolder.make().resolve(Long.toHexString(library.crc)));
        Path checked = folder.resolve(CHECKED);
        OwnFolder.Owned lastCheck = !OwnFolder.WINDOWS && Files.exists(checked) ? new OwnFolder.Owned(checked) : null;
        boolean known = true;
        for (int i = 0; i < PROGRAMS.length; i++) {
            known &= unpack(PROGRAMS[i], programs[i], folder, lastCheck);
        }
        known &= unpack(LIBRARY, library, folder, lastCheck);
        if (!known && !OwnFolder.WINDOWS) {
            Files.write(checked, new byte[1]);
        }
        return folder.resolve(LIBRARY);
    }

    /** Makes sure that the file exists. Returns false if that needed a check of its bytes. */
    private boolean unpack(String name, Content content, Path folder, OwnFolder.Owned lastCheck) throws IOException {
        Path target = folder.resolve(name);
        if (OwnFolder.WINDOWS) {
            // Nobody else can change the folder. Its files cannot be replaced while a program uses them.
            if (Files.isRegularFile(target, LinkOption.NOFOLLOW_LINKS) && Files.size(target) == content.size
                    && content.isIn(target)) {
                return false;
            }
        } else if (Files.exists(target, LinkOption.NOFOLLOW_LINKS)) {
            OwnFolder.Owned there = new OwnFolder.Owned(target);
            boolean likely = there.isOwnFile(content.size);
            if (likely && lastCheck != null && there.isUnchangedSince(lastCheck)) {
                return true;
            }
            if (likely && content.isIn(target)) {
                return false;
            }
        }
        // Renamed when it is complete and on the disk: another JVM may be doing the same, or the power may fail.
        // On Windows without SecureRandom, which asks for the network's adapters first and fails under Wine.
        Path part = OwnFolder.WINDOWS ? Files.createFile(folder.resolve("part" + Long.toHexString(System.nanoTime())))
                : Files.createTempFile(folder, "part", null, OwnFolder.Own.PERMISSIONS);
        try {
            try (InputStream input = stream(name)) {
                Files.copy(input, part, StandardCopyOption.REPLACE_EXISTING);
            }
            try (FileChannel channel = FileChannel.open(part, StandardOpenOption.WRITE)) {
                channel.force(true);
            }
            if (!OwnFolder.WINDOWS) {
                Files.setPosixFilePermissions(part, OwnFolder.Own.PERMISSIONS.value());
            }
            Files.move(part, target, StandardCopyOption.ATOMIC_MOVE);
        } finally {
            Files.deleteIfExists(part);
        }
        return false;
    }

    private Content content(String name) throws IOException {
        if (jar != null) {
            ZipEntry entry = jar.getEntry("ticketapi/" + inJar(name));
            return entry == null ? null : new Content(entry.getSize(), entry.getCrc());
        }
        try (InputStream input = stream(name)) {
            return input == null ? null : Content.of(input);
        }
    }

    private InputStream stream(String name) throws IOException {
        if (jar != null) {
            return jar.getInputStream(jar.getEntry("ticketapi/" + inJar(name)));
        }
        URL resource = Bundle.class.getResource(inJar(name));
        if (resource == null) {
            return null;
        }
        URLConnection connection = resource.openConnection();
        // A cached jar stays open for the life of the JVM.
        connection.setUseCaches(false);
        return connection.getInputStream();
    }

    /** The programs of Windows are the same for JVMs of both widths. */
    private static String inJar(String name) {
        return "native/" + (name.endsWith(".exe") ? "Windows" : platform()) + "/" + name;
    }

    @Override
    public void close() throws IOException {
        if (jar != null) {
            jar.close();
        }
    }

    /** What a file must be. The folder belongs to this user, so this guards against damage, not against attacks. */
    private static final class Content {
        private final long size;
        private final long crc;

        private Content(long size, long crc) {
            this.size = size;
            this.crc = crc;
        }

        static Content of(InputStream input) throws IOException {
            CRC32 crc = new CRC32();
            byte[] buffer = new byte[1 << 16];
            long size = 0;
            for (int count = input.read(buffer); count >= 0; count = input.read(buffer)) {
                crc.update(buffer, 0, count);
                size += count;
            }
            return new Content(size, crc.getValue());
        }

        boolean isIn(Path file) throws IOException {
            try (InputStream input = new FileInputStream(file.toFile())) {
                return of(input).crc == crc;
            }
        }
    }
}
