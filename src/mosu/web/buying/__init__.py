"""What the pages of buying show, from the checkout to what a receipt rests on."""
