package ticketapi.tests;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledForJreRange;
import org.junit.jupiter.api.condition.JRE;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** Where the native library is searched for, and the error if it is missing. */
class LoaderTest {
    private static final Path LIBRARIES = Paths.get(Desk.needed("TEST_LIBRARIES"));
    private static final Path LIBRARY = LIBRARIES.resolve("libticketapi.so");
    private static final int NOBODY = 65534;

    private Desk desk;
    private Path unpacked;

    @BeforeEach
    void open() throws Exception {
        desk = new Desk();
        unpacked = desk.folder.resolve(".cache/ticketapi");
    }

    @AfterEach
    void close() throws Exception {
        desk.close();
    }

    private void loads() throws Exception {
        assertEquals("done\n", desk.run(Loading.class).done().output);
    }

    private Desk.Result fails() throws Exception {
        return desk.run(Loading.class).done().says("80800002 0x80800002: The native library cannot be loaded:\n");
    }

    /** Removes the jar's own copy. */
    private Desk withoutBundled() {
        return desk.option("-Dticketapi.unpack=/dev/null/nowhere");
    }

    @Test
    void thePropertyNamesTheFile() throws Exception {
        withoutBundled().option("-Dticketapi.library=" + LIBRARY);
        loads();
    }

    @Test
    void bothNamesAreSearchedForOnTheLibraryPath() throws Exception {
        for (String name : Arrays.asList("libticketapi.so", "libTicketApiDll.so")) {
            Path folder = Files.createDirectory(desk.folder.resolve(name + ".d"));
            Files.copy(LIBRARY, folder.resolve(name));
            withoutBundled().option("-Djava.library.path=" + folder);
            loads();
        }
    }

    @Test
    @EnabledForJreRange(min = JRE.JAVA_17, max = JRE.JAVA_21)
    void theErrorOfAJvmThatForbidsNativeLibrariesNamesTheOption() throws Exception {
        Path said = desk.folder.resolve("said");
        // Without -Xcheck:jni's check of the error output, in which this JVM warns of the security manager.
        Process program = desk.program(System.getProperty("java.home") + "/bin/java", "-Djava.security.manager=allow",
                "-Duser.home=" + desk.folder, "-cp", Desk.jar() + File.pathSeparator + Desk.classesOf(Forbidden.class),
                Forbidden.class.getName()).redirectOutput(said.toFile()).redirectError(new File("/dev/null")).start();
        assertEquals(0, program.waitFor());
        String text = new String(Files.readAllBytes(said));
        assertTrue(text.startsWith("80800002 0x80800002: This JVM does not allow native libraries")
                && text.contains("start it with --enable-native-access=ALL-UNNAMED"), text);
        assertFalse(Files.exists(unpacked), "nothing else is tried");
    }

    @Test
    void theJarsOwnCopyIsUnpackedOnceIntoAFolderOfTheUser() throws Exception {
        loads();
        assertEquals("rwx------", PosixFilePermissions.toString(Files.getPosixFilePermissions(unpacked)));
        List<Path> first = files();
        assertEquals(3, first.size(), first::toString);
        List<FileTime> times = times(first);
        loads();
        assertEquals(first, files());
        assertEquals(times, times(first));
    }

    @Test
    void aCopyWithOtherBytesIsReplaced() throws Exception {
        loads();
        Path copy = files().stream().filter(file -> file.endsWith("libticketapi.so")).findFirst().get();
        byte[] right = Files.readAllBytes(copy);
        byte[] changed = right.clone();
        changed[changed.length / 2] ^= 1;
        Files.write(copy, changed);
        loads();
        assertArrayEquals(right, Files.readAllBytes(copy));
        Files.write(copy, Arrays.copyOf(right, right.length / 2));
        loads();
        assertArrayEquals(right, Files.readAllBytes(copy));
    }

    @Test
    void jvmsThatUnpackAtOnceDoNotDisturbEachOther() throws Exception {
        Stream.of(1, 2, 3, 4).parallel().forEach(i -> {
            try {
                loads();
            } catch (Exception e) {
                throw new AssertionError(e);
            }
        });
        assertEquals(3, files().size(), () -> files().toString());
    }

    @Test
    void eachSearchedPlaceIsListedWithItsReason() throws Exception {
        withoutBundled().option("-Dticketapi.library=/nowhere/lib.so");
        fails().says("\n  ticketapi.library = /nowhere/lib.so: there is no such file\n")
                .says("\n  System.loadLibrary(\"ticketapi\"): no ticketapi in java.library.path")
                .says("\n  System.loadLibrary(\"TicketApiDll\"): no TicketApiDll in java.library.path")
                .says("\n  the library in the jar, unpacked into /dev/null/nowhere: cannot make the folder")
                .says("set ticketapi.unpack");
    }

    @Test
    void aTruncatedLibraryAndOneForAnotherMachineAreReported() throws Exception {
        byte[] library = Files.readAllBytes(LIBRARY);
        Path broken = desk.folder.resolve("broken.so");
        withoutBundled().option("-Dticketapi.library=" + broken);
        byte[] other = library.clone();
        // e_machine: AArch64 here, x86-64 there.
        other[18] = (byte) (other[18] == 62 ? 183 : 62);
        other[19] = 0;
        Files.write(broken, other);
        fails().says("ticketapi.library = " + broken + ": " + broken + ": ").says("platform");
        Files.write(broken, new byte[10]);
        fails().says("file too short");
        for (int length : new int[] {100, 5000, library.length / 2, library.length * 9 / 10}) {
            Files.write(broken, Arrays.copyOf(library, length));
            fails().says("ticketapi.library = " + broken + ": the end of the file " + broken + " is missing");
        }
    }

    @Test
    void aTruncatedLibraryOnTheLibraryPathIsReported() throws Exception {
        byte[] library = Files.readAllBytes(LIBRARY);
        Path broken = desk.folder.resolve("libticketapi.so");
        Files.write(broken, Arrays.copyOf(library, library.length / 2));
        withoutBundled().option("-Djava.library.path=" + desk.folder);
        fails().says("System.loadLibrary(\"ticketapi\"): the end of the file " + broken + " is missing");
    }

    @Test
    void aLibraryWithoutTheMethodsIsReported() throws Exception {
        Path other = desk.folder.resolve("other.so");
        Process cc = new ProcessBuilder("cc", "-shared", "-o", other.toString(), "-x", "c", "/dev/null").start();
        assertEquals(0, cc.waitFor());
        withoutBundled().option("-Dticketapi.library=" + other);
        fails().says("other.so: the library is of another version, without the methods of this jar\n");
    }

    @Test
    void aJarWithoutThisPlatformIsReported() throws Exception {
        desk.option("-Dos.arch=pdp11");
        fails().says("the library in the jar: it has none for Linux-pdp11");
    }

    @Test
    void anUnwritableHomeIsReported() throws Exception {
        Files.write(desk.folder.resolve(".cache"), new byte[0]);
        fails().says("cannot make the folder " + unpacked).says("set ticketapi.unpack to one that can be written");
    }

    @Test
    void aFileSystemWithoutExecutionIsNamed() throws Exception {
        Path mount = Files.createDirectory(desk.folder.resolve("no exec"));
        desk.option("-Dticketapi.unpack=" + mount.resolve("own"));
        String script = "mount -t tmpfs -o noexec,mode=0755 none '" + mount + "' && exec \"$@\"";
        Desk.Result result = desk.java(Arrays.asList("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"),
                Desk.jar() + File.pathSeparator + Desk.classesOf(Loading.class), Loading.class.getName());
        result.done().says("80800002 ").says("; the file system at " + mount + " is mounted noexec");
    }

    @Test
    void filesThatAnotherUserCouldHavePlantedAreNotLoaded() throws Exception {
        loads();
        Path copy = files().stream().filter(file -> file.endsWith("libticketapi.so")).findFirst().get();
        Path folder = copy.getParent();

        Files.setPosixFilePermissions(folder, PosixFilePermissions.fromString("rwxrwx---"));
        fails().says("the folder " + folder + " is open to other users: nothing is loaded from it");
        Files.setPosixFilePermissions(folder, PosixFilePermissions.fromString("rwx------"));
        loads();

        Path home = unpacked.getParent();
        Files.setPosixFilePermissions(home, PosixFilePermissions.fromString("rwxrwxrwx"));
        fails().says("the folder " + home + " can be written by every user: nothing is loaded from it; set ticketapi.unpack to");
        Files.setPosixFilePermissions(home, PosixFilePermissions.fromString("rwx------"));
        loads();

        // A link to a folder of the attacker.
        Path elsewhere = Files.move(unpacked, desk.folder.resolve("elsewhere"));
        Files.createSymbolicLink(unpacked, elsewhere);
        fails().says("cannot make the folder " + unpacked);
        Files.delete(unpacked);
        Files.move(elsewhere, unpacked);

        if (isRoot()) {
            // Only root can give files away; for others, the test uses a folder of root.
            Files.setAttribute(copy, "unix:uid", NOBODY);
            loads();
            assertEquals(0, Files.getAttribute(copy, "unix:uid"), "the planted file was replaced");
            Files.setAttribute(folder, "unix:uid", NOBODY);
            fails().says("the folder " + folder + " belongs to another user: nothing is loaded from it");
            Files.setAttribute(folder, "unix:uid", 0);
            Files.setAttribute(unpacked, "unix:uid", NOBODY);
            fails().says("the folder " + unpacked + " belongs to another user: nothing is loaded from it");
            Files.setAttribute(unpacked, "unix:uid", 0);
            Files.setAttribute(home, "unix:gid", NOBODY);
            Files.setPosixFilePermissions(home, PosixFilePermissions.fromString("rwxrwx---"));
            fails().says("the folder " + home + " can be written by its group");
        } else {
            desk.option("-Dticketapi.unpack=/usr/lib");
            fails().says("the folder /usr/lib belongs to another user: nothing is loaded from it");
        }
    }

    @Test
    void foldersAboveMayBeWritableByTheGroupOfRootOrOfTheUser() throws Exception {
        loads();
        Path home = unpacked.getParent();
        Files.setPosixFilePermissions(home, PosixFilePermissions.fromString("rwxrwx---"));
        int group = (Integer) Files.getAttribute(home, "unix:gid");
        if (group == 0 || group == (Integer) Files.getAttribute(home, "unix:uid")) {
            loads();
        }
        if (isRoot()) {
            Files.setAttribute(home, "unix:gid", 100);
            fails().says("the folder " + home + " can be written by its group");
            Files.setAttribute(home, "unix:mode", 01770);
            loads();
        }
    }

    @Test
    void aFolderBehindALinkIsCheckedAtItsRealPath() throws Exception {
        Path real = Files.createDirectory(desk.folder.resolve("real"));
        Path link = Files.createSymbolicLink(desk.folder.resolve("link"), real);
        desk.option("-Dticketapi.unpack=" + link.resolve("own"));
        loads();
        Path folder = real.toRealPath().resolve("own");
        Files.setPosixFilePermissions(real, PosixFilePermissions.fromString("rwxrwxrwx"));
        fails().says("the folder " + folder.getParent() + " can be written by every user");
        Files.setPosixFilePermissions(real, PosixFilePermissions.fromString("rwx------"));
        try (Stream<Path> all = Files.list(folder)) {
            Path inside = all.findFirst().get();
            Files.setPosixFilePermissions(inside, PosixFilePermissions.fromString("rwxrwx---"));
            fails().says("the folder " + inside + " is open to other users");
        }
    }

    @Test
    void withoutAHomeInJavaTheEnvironmentsHomeIsUsed() throws Exception {
        Path home = Files.createDirectory(desk.folder.resolve("home"));
        for (String unknown : Arrays.asList("?", "", "relative")) {
            String run = "cd '" + desk.folder + "' && exec env -u XDG_CACHE_HOME HOME='" + home + "' \"$@\"";
            loadsWithHome(unknown, run).done();
            assertTrue(Files.isDirectory(home.resolve(".cache/ticketapi")), unknown);
            loadsWithHome(unknown, run.replace("HOME='" + home + "'", "HOME=relative")).done()
                    .says("80800002 ").says("the library in the jar: the user's home folder is not known; set ticketapi.unpack");
            assertFalse(Files.exists(desk.folder.resolve("?")), unknown);
            assertFalse(Files.exists(desk.folder.resolve("relative")), unknown);
        }
    }

    private Desk.Result loadsWithHome(String home, String script) throws Exception {
        desk.option("-Duser.home=" + home);
        return desk.java(Arrays.asList("sh", "-c", script, "sh"),
                Desk.jar() + File.pathSeparator + Desk.classesOf(Loading.class), Loading.class.getName());
    }

    @Test
    void aSecondClassLoaderSharesTheSession() throws Exception {
        desk.with("good.p12", "--roles", "1");
        Desk.Result result = desk.run(Loading.class, Desk.jar()).done();
        assertEquals("done\n", result.output);
        assertEquals(1, desk.pins());
        assertEquals(3, files().size(), () -> files().toString());
    }

    @Test
    void aSecondClassLoaderThatCannotShareGetsTheReason() throws Exception {
        desk.with("good.p12", "--roles", "1");
        withoutBundled().option("-Dticketapi.library=" + LIBRARY);
        desk.run(Loading.class, Desk.jar()).done()
                .says("another class loader of this JVM has loaded " + LIBRARY)
                .says("Put the jar where both class loaders find it.");
    }

    private List<Path> files() {
        try (Stream<Path> all = Files.walk(unpacked)) {
            return all.filter(file -> Files.isRegularFile(file, LinkOption.NOFOLLOW_LINKS)).sorted().collect(Collectors.toList());
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    private static List<FileTime> times(List<Path> files) throws IOException {
        List<FileTime> times = new ArrayList<>();
        for (Path file : files) {
            times.add(Files.getLastModifiedTime(file));
        }
        return times;
    }

    private static boolean isRoot() throws IOException {
        return (Integer) Files.getAttribute(Paths.get("/proc/self"), "unix:uid") == 0;
    }
}
