"""What a decoded picture is measured by against its original."""
