// As ticket.c, from .NET.
using System;
using System.Runtime.InteropServices;
using System.Text;

static class Ticket
{
    const string Dll = "TicketApiDll.dll";

    [DllImport(Dll, CallingConvention = CallingConvention.Cdecl)]
    static extern int TcktApi_Initialize();

    [DllImport(Dll, CallingConvention = CallingConvention.Cdecl)]
    static extern void TcktApi_Finalize(int instance);

    [DllImport(Dll, CallingConvention = CallingConvention.Cdecl)]
    static extern int TcktApi_getTicket(int instance, StringBuilder ticket, uint size, out uint length);

    [DllImport(Dll, CallingConvention = CallingConvention.Cdecl)]
    static extern int TcktApi_getTicketNoAuth(int instance, StringBuilder ticket, uint size, out uint length);

    [DllImport(Dll, CallingConvention = CallingConvention.Cdecl)]
    static extern int TcktApi_destroyTicket(int instance);

    [DllImport(Dll, CallingConvention = CallingConvention.Cdecl)]
    static extern uint TcktApi_getLastError(int instance);

    [DllImport(Dll, CallingConvention = CallingConvention.Cdecl)]
    static extern int TcktApi_getErrorDescription(int instance, uint code, StringBuilder text, uint size, out uint length);

    static int Main(string[] words)
    {
        string what = words.Length > 0 ? words[0] : "";
        int instance = TcktApi_Initialize(), result;
        StringBuilder ticket = new StringBuilder(8192);
        uint length;
        if (what == "destroy")
            result = TcktApi_destroyTicket(instance);
        else if (what == "existing")
            result = TcktApi_getTicketNoAuth(instance, ticket, 8192, out length);
        else
            result = TcktApi_getTicket(instance, ticket, 8192, out length);
        if (result != 0)
        {
            uint code = TcktApi_getLastError(instance);
            TcktApi_getErrorDescription(instance, code, ticket, 8192, out length);
            Console.WriteLine("failed: 0x{0:x8}: {1}", code, ticket);
            return 1;
        }
        TcktApi_Finalize(instance);
        Console.WriteLine(what == "destroy" ? "logged out" : "ticket: " + ticket);
        return 0;
    }
}
