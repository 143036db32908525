package ticketapi.tests;

import java.io.DataInputStream;
import java.io.File;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

/** Programs that were written for the original, with this jar. */
class DropInTest {
    private Desk desk;

    @BeforeEach
    void open() throws Exception {
        desk = new Desk();
    }

    @AfterEach
    void close() throws Exception {
        desk.close();
    }

    private Desk.Result client(String what) throws Exception {
        Path classes = desk.compile("client", "signatures");
        return desk.java(Desk.jar() + File.pathSeparator + classes, "Client", what);
    }

    @Test
    void aClientCompiledAgainstThePublicSignaturesWorks() throws Exception {
        desk.with("good.p12", "--roles", "1");
        client("everything").done();
        assertEquals(2, desk.pins());
    }

    @Test
    void aTokenInTheHelperLogsIn() throws Exception {
        desk.with("good", "--roles", "1");
        client("everything").done();
    }

    @Test
    void classesAreForJava8() throws Exception {
        try (java.util.jar.JarFile jar = new java.util.jar.JarFile(Desk.jar())) {
            jar.stream().filter(entry -> entry.getName().endsWith(".class")).forEach(entry -> {
                try (InputStream input = jar.getInputStream(entry); DataInputStream data = new DataInputStream(input)) {
                    data.readInt();
                    int version = data.readInt();
                    assertEquals(entry.getName().startsWith("META-INF/versions/9/") ? 53 : 52, version, entry.getName());
                } catch (java.io.IOException e) {
                    throw new java.io.UncheckedIOException(e);
                }
            });
        }
    }

    @Test
    void theJarIsAModule() throws Exception {
        Path modules = desk.compile("client", "signatures");
        Process process = new ProcessBuilder(System.getProperty("java.home") + "/bin/java", "-p", Desk.jar(), "--add-modules",
                "ticketapi", "-cp", modules.toString(), "-Dticketapi.unpack=" + desk.folder.resolve("own"), "Client", "first")
                .redirectErrorStream(true).redirectOutput(desk.folder.resolve("module").toFile()).start();
        assertEquals(0, process.waitFor());
        assertEquals("null\ndone\n", new String(Files.readAllBytes(desk.folder.resolve("module"))));
    }

    @ParameterizedTest
    @CsvSource({
        "expired,80200003", "no-certificate,80200006", "no-key,80200007", "locked,80200004", "locks,80200004",
        "unknown,80200001", "no-reader,80200002", "crashes,80200005", "removed,80200005",
    })
    void aCardErrorReturnsNullAndItsCode(String card, String code) throws Exception {
        desk.with(card, "--roles", "1");
        client("failure").done().says("null " + code + " ").says("null " + code + "\n");
    }

    @ParameterizedTest
    @CsvSource({"expired,80100007", "other-ca,80100007"})
    void anUntrustedServerReturnsNullAndItsCode(String certificate, String code) throws Exception {
        desk.with("good.p12", "--certificate", certificate);
        client("failure").done().says("null " + code + " ");
    }

    @Test
    void aMissingPrompterReturnsNullAndItsCode() throws Exception {
        desk.with("good.p12").set("TICKETAPI_PINENTRY", "/nowhere/pinentry");
        client("failure").done().says("null 80800006 ");
    }

    @Test
    void aConfigurationErrorThrowsAnExceptionWithCodeAndDescription() throws Exception {
        desk.set("TICKETAPI_DIGEST", "md5");
        client("failure").says("no object: 0x80800004: The configuration cannot be used").says("TICKETAPI_DIGEST");
    }

    @Test
    void descriptionsKeepTheirCharacters() throws Exception {
        desk.with("good.p12", "--misbehave", "validate=refusal:Zugang für Ünal gesperrt, 5 €, 患者 😀");
        client("failure").done().says("null 80400002 ").says("Zugang für Ünal gesperrt, 5 €, 患者 😀");
    }

    @Test
    void debugOutputContainsNoTicket() throws Exception {
        desk.with("good.p12", "--roles", "1");
        Desk.Result result = client("debug").done();
        result.says("getTicketNoAuth: 0x80100009\n").says("getTicket: done\n").says("getNewTicket: done\n").says("destroyTicket: done\n");
        String[] tickets = result.errors.trim().split("\n");
        assertEquals(3, tickets.length);
        for (String ticket : tickets) {
            assertTrue(ticket.length() > 20, ticket);
            assertFalse(result.output.contains(ticket.substring(0, 8)), result.output);
        }
    }

    @Test
    void thirtyTwoThreadsShareOneLogin() throws Exception {
        desk.with("good.p12", "--roles", "1");
        client("threads").done();
        assertEquals(1, desk.pins());
    }

    @Test
    void aMillionCallsRunWithASmallHeap() throws Exception {
        desk.with("good.p12", "--roles", "1").option("-Xmx32m");
        client("million").done();
    }

    @Test
    void theOriginalsClassWorksWhileItsObjectsAreCollected() throws Exception {
        desk.with("good.p12", "--roles", "1");
        desk.option("-Djava.library.path=" + Desk.needed("TEST_LIBRARIES"));
        Path client = desk.compile("original-client", "original");
        desk.java(desk.folder.resolve("original") + File.pathSeparator + client, "OriginalClient").done();
        assertEquals(2, desk.pins());
    }
}
