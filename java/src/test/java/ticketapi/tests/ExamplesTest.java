package ticketapi.tests;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import org.junit.jupiter.api.Test;

/** Runs the programs in examples/ from their sources, as their first lines say. */
class ExamplesTest {
    @Test
    void theOldLoginGetsATicket() throws Exception {
        try (Desk desk = new Desk()) {
            desk.with("good.p12", "--roles", "1");
            desk.java(Desk.jar(), "../examples/OldLogin.java")
                    .says("The ticket has ").says("Asked again, it is the same: true");
        }
    }

    @Test
    void theClinicalAppPromptsOnTheTerminal() throws Exception {
        try (Desk desk = new Desk()) {
            desk.with("good.p12").types("9999\n1234\n2\n");
            desk.java(Desk.jar(), "../examples/ClinicalApp.java")
                    .says("Wrong PIN.").says("user  TEST USER (555021935107)").says("role  ").says("The ticket has ");
        }
    }

    @Test
    void theNutsLoginGetsAnAccessToken() throws Exception {
        try (Desk desk = new Desk()) {
            String employer = desk.atNode("accept").variable("TICKETAPI_EMPLOYER");
            desk.java(Desk.jar(), "../examples/NutsLogin.java", employer, "test")
                    .says("user  J van Dijk (481)").says("The access token has ");
        }
    }

    @Test
    void theLinesInTheDocumentationSign() throws Exception {
        String text = new String(Files.readAllBytes(Paths.get("../docs/signing.md")), StandardCharsets.UTF_8);
        int start = text.indexOf("```java\n") + "```java\n".length();
        String lines = text.substring(start, text.indexOf("```", start));
        try (Desk desk = new Desk()) {
            Path program = desk.folder.resolve("Signing.java");
            Files.write(program, ("import ticketapi.*;\nclass Signing { public static void main(String[] arguments) throws Exception {\n"
                    + "byte[] document = {1};\ntry (TicketApi api = TicketApi.open()) {\n" + lines
                    + "System.out.println(\"bytes: \" + signature.length);\n} } }\n").getBytes(StandardCharsets.UTF_8));
            desk.with("signs.p12").java(Desk.jar(), program.toString()).says("bytes: ");
        }
    }

    @Test
    void theClinicalAppPrintsWhatToDo() throws Exception {
        try (Desk desk = new Desk()) {
            desk.with("good.p12").types("\n");
            Desk.Result result = desk.java(Desk.jar(), "../examples/ClinicalApp.java");
            org.junit.jupiter.api.Assertions.assertTrue(result.status == 1
                    && result.errors.contains("Log in again when you are ready."), result::toString);
        }
    }
}
